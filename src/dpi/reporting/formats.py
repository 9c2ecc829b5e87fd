"""A table and the paired differences as Markdown, aligned to be read as it is."""

import re
from collections.abc import Iterable
from itertools import chain

import pandas as pd

from dpi.reporting.notes import remarks, warnings
from dpi.reporting.paper import MISSING
from dpi.reporting.table import Table

LEGEND = "Best **bold**, second best *italic* in each block; ± standard error over seeds."


def markdown(table: Table) -> str:
    """A heading, the table and its notes."""
    spec, paired, runs = table.spec, table.paired, table.runs
    titles = [[spec.columns[key].title] + ["paper"] * paired[key] for key in paired]
    grid = [["", spec.stub, "seeds", *chain(*titles)]]
    for block, rows in table.layout.items():
        for row, cells in rows.items():
            seeds = set(runs.get((block, row), {}).values())
            first = block if row == next(iter(rows)) else ""
            grid.append([_escaped(first), _escaped(row), str(len(seeds) or MISSING)])
            for cell in cells:
                grid[-1].append(_marked(cell.ours, cell.rank))
                if paired[cell.column]:
                    grid[-1].append(_marked(cell.papers, cell.paper_rank))
    notes = [f"**Note:** {_escaped(line)}" for line in warnings(table)]
    notes += map(_escaped, remarks(table))
    parts = [f"## {spec.title}: {spec.heading}", spec.caption, _aligned(grid, left=2)]
    parts += [LEGEND] * spec.ranked + ["\n".join(f"- {line}" for line in notes)]
    return "\n\n".join(parts) + "\n"


def markdown_pairs(differences: pd.DataFrame, sentence: str) -> str:
    """The paired differences, below the sentence that they come to."""
    head = "table,block,metric,comparison,seeds,difference %,95 % interval,p (Holm),outcome"
    grid = [head.split(",")]
    for pair in differences.itertuples():
        comparison = f"{pair.row} against {pair.against}"
        where = map(_escaped, [pair.table, pair.block, pair.metric, comparison])
        interval = f"{pair.percent - pair.half:+.2f} to {pair.percent + pair.half:+.2f}"
        tested = [interval, f"{pair.p:.2g}"] if pair.seeds > 1 else [MISSING, MISSING]
        grid.append([*where, str(pair.seeds), f"{pair.percent:+.2f}", *tested, pair.outcome])
    return f"## Paired differences\n\n{_escaped(sentence)}\n\n{_aligned(grid, left=4)}\n"


def _escaped(text: str) -> str:
    """Names are shown as they are: no HTML, no marks, no links."""
    return re.sub(r"[\\`*\[\]<>&|~]|\b_|_\b", r"\\\g<0>", " ".join(text.split()))


def _marked(number: tuple[str, str], rank: float) -> str:
    text, error = number
    mark = {1: "**", 2: "*"}.get(rank, "")
    return f"{mark}{text}{mark} ± {error}" if error else f"{mark}{text}{mark}"


def _aligned(grid: Iterable[list[str]], left: int) -> str:
    """The first columns aligned to the left, the others to the right; empty ones left out."""
    padded = []
    for i, column in enumerate(zip(*grid, strict=True)):
        width = max(3, *map(len, column))
        rule = "-" * width if i < left else "-" * (width - 1) + ":"
        cells = [column[0], rule, *column[1:]]
        if any(column):
            padded.append([c.ljust(width) if i < left else c.rjust(width) for c in cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*padded, strict=True))
