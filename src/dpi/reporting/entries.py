"""The cells of a table as text with their marks, for every kind of file alike."""

from statistics import fmean
from typing import NamedTuple

from dpi.reporting.statistics import standard_error
from dpi.reporting.table import Block, Cell, Column, Table

MISSING = "–"  # noqa: RUF001 - a dash, as printed tables have it


class Number(NamedTuple):
    """A number in print."""

    text: str
    error: str = ""
    """Its standard error; empty where there is none."""
    rank: int | None = None
    """1 for the best, 2 for the second best."""


class Entry(NamedTuple):
    """What a row has in a column."""

    ours: Number
    paper: Number | None
    """None in a column of which the paper prints nothing."""


def entries(table: Table, block: Block) -> dict[str, list[Entry]]:
    """Each row's entries, column by column."""
    columns = [_column(table, block, column) for column in table.columns]
    return {row: [column[row] for column in columns] for row in block.lines}


def _column(table: Table, block: Block, column: Column) -> dict[str, Entry]:
    best, papers_best = block.marks(column)
    in_paper = table.in_paper(column)
    found = {}
    for row, line in block.lines.items():
        cell = line.cells[column.key]
        paper = _paper(column, cell, papers_best.get(row)) if in_paper else None
        found[row] = Entry(_ours(column, cell, best.get(row)), paper)
    return found


def _ours(column: Column, cell: Cell, rank: int | None) -> Number:
    if not cell.ours:
        return Number(MISSING)
    mean = fmean(cell.ours.values())
    return Number(*column.digits(mean, standard_error(cell.ours)), rank)


def _paper(column: Column, cell: Cell, rank: int | None) -> Number:
    if cell.paper is None:
        return Number(MISSING)
    return Number(*column.digits(cell.paper, None), rank)
