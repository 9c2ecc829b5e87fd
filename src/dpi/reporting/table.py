"""Results in the blocks, rows and columns of a table, beside the paper's numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from dpi.reporting.labels import order
from dpi.reporting.paper import Column, Spec, printed_frame

CELL = ["block", "row", "column"]


@dataclass(frozen=True)
class Table:
    """A table with its numbers."""

    spec: Spec
    numbers: pd.DataFrame
    """Results, a row a number, with block, row and column."""
    cells: pd.DataFrame
    """A row a cell: value and error (mean and standard error over seeds), seeds, paper; rank and
    paper_rank: 1 of the best in its block, 2 of the second best, others nan."""

    @cached_property
    def paired(self) -> dict[str, bool]:
        """Whether each column has numbers of the paper."""
        in_paper = set(self.cells.column[self.cells.paper.notna()])
        return {column: column in in_paper for column in self.spec.columns}

    @cached_property
    def runs(self) -> dict[tuple[str, str], dict[str, int]]:
        """The seeds of each block's and row's runs, by their names."""
        rows = self.numbers.groupby(["block", "row"])
        return {row: dict(zip(own.run, own.seed, strict=True)) for row, own in rows}

    @cached_property
    def layout(self) -> dict[str, dict[str, list[Any]]]:
        """For each block and row its cells, those of `cells` with their text: (number, error) in
        `ours`, (number, "") in `papers`."""
        columns = [self.spec.columns[column] for column in self.cells.column]
        ours = zip(columns, self.cells.value, self.cells.error, strict=True)
        cells = self.cells.assign(
            ours=[column.show(value, error) for column, value, error in ours],
            papers=list(map(Column.show, columns, self.cells.paper)),
        )
        return {
            block: {row: list(cell.itertuples()) for row, cell in own.groupby("row", sort=False)}
            for block, own in cells.groupby("block", sort=False)
        }


def select(results: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """The results that belong in the table's columns, with the `column` and in its unit."""
    parts = [results[:0].assign(column="")]
    for key, column in spec.columns.items():
        scalar = results.scalar.fillna(-1) == (-1 if column.scalar is None else column.scalar)
        framework = results.framework == (column.framework or results.framework)
        own = results[scalar & framework & (results.metric == column.metric)]
        parts.append(own.assign(column=key, value=own.value * column.unit))
    return pd.concat(parts).sort_index(kind="stable")


def fill(spec: Spec, numbers: pd.DataFrame) -> Table:
    """The table of results that have a block, row and column; the blocks in their order."""
    blocks = numbers[["block", *spec.keys]].drop_duplicates()
    on = {"on": spec.keys} if spec.keys else {"how": "cross"}
    paper = blocks.merge(printed_frame(spec.name), **on)[[*CELL, "paper"]]
    means = {"value": ("value", "mean"), "error": ("value", "sem"), "seeds": ("seed", "count")}
    cells = numbers.groupby(CELL).agg(**means).reset_index().merge(paper, "outer", CELL)
    # Each row has a cell for each column, in their order.
    columns = pd.DataFrame({"column": list(spec.columns)})
    cells = cells[["block", "row"]].drop_duplicates().merge(columns, "cross").merge(cells, "left")
    place = {block: f"{i:04}" for i, block in enumerate(blocks.block)}
    key = lambda of: of.map(place) if of.name == "block" else order(of)  # noqa: E731
    cells = cells.sort_values(["block", "row"], key=key, kind="stable")
    direction = cells.column.map({key: column.direction for key, column in spec.columns.items()})
    for value, rank in (("value", "rank"), ("paper", "paper_rank")):
        groups = (cells[value] * direction).groupby([cells.block, cells.column])
        ranks = groups.rank("dense")
        # As in the paper: of two rows only the best is marked, of one none.
        cells[rank] = ranks.where(ranks < groups.transform("count").clip(upper=3))
    return Table(spec, numbers, cells)
