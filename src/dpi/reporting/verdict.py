"""Whether a table's orderings are the paper's, in words."""

from dataclasses import dataclass

from dpi.reporting.statistics import Ordering, total
from dpi.reporting.table import Block, Column, Table


@dataclass(frozen=True)
class Verdict:
    """On one block."""

    block: Block
    columns: dict[str, Ordering]
    """By the columns' titles; those with a pair to compare."""

    @property
    def all(self) -> Ordering:
        return total(self.columns.values())

    @property
    def short(self) -> str:
        """In how many columns the whole ordering is the paper's."""
        same = sum(ordering.same for ordering in self.columns.values())
        if same == len(self.columns):
            return "the paper's in every column"
        rest = "" if self.all.differs else ", too close to tell in the others"
        return f"the paper's in {same} of {len(self.columns)} columns{rest}"

    @property
    def words(self) -> str:
        """The same as a sentence."""
        return f"the whole ordering is {self.short}"


def verdicts(table: Table) -> list[Verdict]:
    """On each block of a table that has rows to compare."""
    if not table.ordered:
        return []
    found = [Verdict(block, _orderings(block, table.columns)) for block in table.blocks]
    return [verdict for verdict in found if verdict.columns]


def _orderings(block: Block, columns: tuple[Column, ...]) -> dict[str, Ordering]:
    orderings = {column.title: block.ordering(column) for column in columns}
    return {title: ordering for title, ordering in orderings.items() if ordering.pairs}
