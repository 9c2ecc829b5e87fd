"""What a table is: blocks of rows that are compared, ours beside the paper's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from dpi.reporting.collect import Row, Run
from dpi.reporting.digits import Digits
from dpi.reporting.likeness import Measured, Note
from dpi.reporting.statistics import BySeed, Ordering, ordering, ranks


@dataclass(frozen=True)
class Column:
    """One metric."""

    key: str
    title: str
    digits: Digits
    read: Callable[[Run], Row | None]
    """Its row of a run, None where there is none."""
    higher_is_better: bool | None = None
    """None where neither is better, and nothing is marked."""
    unit: float = 1.0
    """What a row's value is multiplied with."""


@dataclass(frozen=True)
class Cell:
    """One metric of one row."""

    ours: BySeed = field(default_factory=dict)
    paper: float | None = None
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class Line:
    """A row: runs that differ in their seed alone."""

    title: str
    runs: tuple[Run, ...]
    cells: Mapping[str, Cell]
    """By column."""

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for cell in self.cells.values() for seed in cell.ours})


@dataclass(frozen=True)
class Block:
    """Rows that are compared with each other."""

    title: str
    lines: Mapping[str, Line]

    def ours(self, column: Column) -> dict[str, BySeed]:
        """What was measured, as far as it was."""
        return {k: ours for k, line in self.lines.items() if (ours := line.cells[column.key].ours)}

    def paper(self, column: Column) -> dict[str, float]:
        """What is printed, as far as it is."""
        cells = {key: line.cells[column.key] for key, line in self.lines.items()}
        return {key: cell.paper for key, cell in cells.items() if cell.paper is not None}

    def ordering(self, column: Column) -> Ordering:
        """Whether the rows stand as in the paper."""
        return ordering(self.ours(column), self.paper(column))

    def marks(self, column: Column) -> tuple[dict[str, int], dict[str, int]]:
        """1 for the best and 2 for the second best of ours, and of the paper's.

        Of two rows only the best is marked, as in the paper; where there is one, none.
        """
        if column.higher_is_better is None:
            return {}, {}
        means = {row: fmean(values.values()) for row, values in self.ours(column).items()}
        return tuple(
            {
                row: rank
                for row, rank in ranks(values, column.higher_is_better).items()
                if rank <= min(2, len(values) - 1)
            }
            for values in (means, self.paper(column))
        )


@dataclass(frozen=True)
class Table:
    """One table of the report."""

    name: str
    """Also of its files: table2."""
    title: str
    caption: str
    stub: str
    """What tells the rows of a block apart."""
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    command: str
    """What makes its runs."""
    ordered: bool = True
    """Whether the orderings within its blocks mean something."""
    notes: tuple[Note, ...] = ()

    @property
    def lines(self) -> list[Line]:
        return [line for block in self.blocks for line in block.lines.values()]

    @property
    def measured(self) -> bool:
        """Whether there is any number of ours."""
        return any(line.seeds for line in self.lines)

    @property
    def marked(self) -> bool:
        """Whether best and second best are marked."""
        return any(column.higher_is_better is not None for column in self.columns)

    def in_paper(self, column: Column) -> bool:
        """Whether the paper prints anything of a column."""
        return any(line.cells[column.key].paper is not None for line in self.lines)
