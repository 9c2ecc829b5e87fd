"""Tables in print: their lines of cells, and these as Markdown."""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import isnan
from typing import Any, NamedTuple

import pandas as pd

from dpi.reporting.notes import remarks, warnings
from dpi.reporting.paper import MISSING
from dpi.reporting.tables import Table

Lines = list[list["Cell"]]
"""The first is the head; the first cell of each is the block."""


class Cell(NamedTuple):
    """What is printed in a cell."""

    text: str
    error: str = ""
    mark: str = ""
    """best, second, better or worse."""
    runs: dict[str, Any] | None = None
    """On the page, in place of the text: what leads to runs, by their names."""


class Printed(NamedTuple):
    """What all formats have of a table."""

    name: str
    title: str
    caption: str
    lines: Lines
    numbers: pd.DataFrame
    """The same, unrounded."""
    warnings: Sequence[str] = ()
    remarks: Sequence[str] = ()


def printed(table: Table) -> Printed:
    """A table in print."""
    spec, columns = table.spec, table.spec.columns
    titles = [columns[key].title for key in table.cells.column.unique()]
    lines = [list(map(Cell, ["", spec.stub, "seeds", *titles]))]
    of_row = dict(list(table.numbers.groupby(["block", "row"])))
    for row, own in table.cells.groupby(["block", "row"], sort=False):
        numbers = of_row.get(row, table.numbers[:0])
        runs = dict(zip(numbers.run, numbers.seed, strict=True))
        seeds = str(len(set(runs.values())) or MISSING)
        lines.append([*map(Cell, row), Cell(seeds, runs=runs)])
        for cell in own.itertuples():
            lines[-1].append(Cell(*columns[cell.column].show(cell.value, cell.error), cell.mark))
    notes = list(warnings(table)), list(remarks(table))
    return Printed(spec.name, spec.title, spec.caption, lines, table.cells, *notes)


def printed_pairs(differences: pd.DataFrame, sentence: str) -> Printed:
    """The paired differences in print, below the sentence that they come to."""
    head = ",comparison,metric,seeds,difference %,95 % interval,p (Holm),outcome"
    lines = [list(map(Cell, head.split(",")))]
    for pair in differences.itertuples():
        where = [f"{pair.table}; {pair.block}", f"{pair.row} against {pair.against}", pair.metric]
        interval = f"{pair.percent - pair.half:+.2f} to {pair.percent + pair.half:+.2f}"
        tested = [interval, f"{pair.p:.2g}"] if pair.seeds > 1 else [MISSING, MISSING]
        texts = [*where, str(pair.seeds), f"{pair.percent:+.2f}", *tested]
        lines.append([*map(Cell, texts), Cell(pair.outcome, mark=pair.outcome)])
    return Printed("pairs", "Paired differences", sentence, lines, differences)


def lines_of_runs(runs: pd.DataFrame, results: pd.DataFrame, losses: pd.DataFrame) -> Lines:
    """The runs with all that was measured over the whole schedule, and their last val_loss."""
    numbers = results[results.scalar.isna()].pivot(index="run", columns="metric", values="value")
    numbers["val_loss"] = losses.groupby("run").value.last()
    numbers = numbers.reindex(runs.index).dropna(axis="columns", how="all")
    head = ["", "run", "block", "conditioning", "seed", *numbers]
    lines = [list(map(Cell, head))]
    for name, run in runs.iterrows():
        texts = [run.block, run.model, str(run.seed), *map(_number, numbers.loc[name])]
        lines.append([Cell(""), Cell(name, runs={name: name}), *map(Cell, texts)])
    return lines


def _number(value: float) -> str:
    if isnan(value):
        return MISSING
    return f"{value:,.0f}" if value > 9999 else f"{value:.5g}"


def markdown(table: Printed) -> str:
    """A heading, the table and its notes."""
    notes = [f"**Note:** {_escaped(note)}" for note in table.warnings]
    notes += map(_escaped, table.remarks)
    lines = _aligned(table.lines) if len(table.lines) > 1 else ""
    listed = "\n".join(f"- {note}" for note in notes)
    parts = [f"## {table.title}", _escaped(table.caption), lines, listed]
    return "\n\n".join(filter(None, parts)) + "\n"


def _escaped(text: str) -> str:
    """Names are shown as they are: no HTML, no marks, no links."""
    return re.sub(r"[\\`*\[\]<>&|~]|\b_|_\b", r"\\\g<0>", " ".join(text.split()))


def _marked(cell: Cell) -> str:
    mark = {"best": "**", "second": "*"}.get(cell.mark, "")
    text = f"{mark}{_escaped(cell.text)}{mark}"
    return f"{text} ± {cell.error}" if cell.error else text


def _aligned(lines: Lines) -> str:
    """The first two columns aligned to the left, the others to the right. A block is named in its
    first line."""
    padded = []
    for i, column in enumerate(zip(*lines, strict=True)):
        texts = list(map(_marked, column))
        if i == 0:
            texts = [text * (text != before) for before, text in pairwise(["", *texts])]
        width = max(3, *map(len, texts))
        texts.insert(1, "-" * width if i < 2 else "-" * (width - 1) + ":")
        padded.append([text.ljust(width) if i < 2 else text.rjust(width) for text in texts])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*padded, strict=True))
