"""A table and the paired differences as Markdown, aligned to be read as it is."""

from collections.abc import Iterable

import pandas as pd

from dpi.reporting.notes import remarks, warnings
from dpi.reporting.paper import MISSING
from dpi.reporting.table import Table

LEGEND = "Best **bold**, second best *italic* in each block; ± standard error over seeds."


def markdown(table: Table) -> str:
    """A heading, the table and its notes."""
    spec, runs = table.spec, table.runs
    head = ["", spec.stub, "seeds"]
    for key, paired in table.paired.items():
        head += [spec.columns[key].title] + ["paper"] * paired
    grid = [head]
    for block, rows in table.layout().items():
        for i, (row, cells) in enumerate(rows.items()):
            seeds = len(set(runs.get((block, row), {}).values()))
            grid.append([block if not i else "", row, str(seeds or MISSING)])
            for cell in cells:
                error = f" ± {cell.error}" if cell.error else ""
                grid[-1].append(_marked(cell.text, cell.rank) + error)
                if cell.paper is not None:
                    grid[-1].append(_marked(cell.paper, cell.paper_rank))
    parts = [f"## {spec.title}: {spec.heading}", spec.caption, _aligned(grid, words=2)]
    notes = [f"**Note:** {line}" for line in warnings(table)] + list(remarks(table))
    parts += [LEGEND] * spec.ranked + ["\n".join(f"- {line}" for line in notes)]
    return "\n\n".join(parts) + "\n"


def markdown_pairs(differences: pd.DataFrame, sentence: str) -> str:
    """The paired differences, below the sentence that they come to."""
    head = "table,block,metric,comparison,seeds,difference %,95 % interval,p (Holm),outcome"
    grid = [head.split(",")]
    for pair in differences.itertuples():
        low, high = pair.percent - pair.half, pair.percent + pair.half
        tested = (
            [f"{low:+.2f} to {high:+.2f}", f"{pair.p:.2g}"] if pair.seeds > 1 else [MISSING] * 2
        )
        where = [pair.table, pair.block, pair.metric, f"{pair.row} against {pair.against}"]
        grid.append([*where, str(pair.seeds), f"{pair.percent:+.2f}", *tested, pair.outcome])
    return f"## Paired differences\n\n{sentence}\n\n{_aligned(grid, words=4)}\n"


def _marked(text: str, rank: float) -> str:
    mark = {1: "**", 2: "*"}.get(rank, "")
    return f"{mark}{text}{mark}"


def _aligned(grid: Iterable[list[str]], words: int) -> str:
    """The first columns, of words, to the left, numbers to the right; empty columns left out."""
    escaped = [[" ".join(cell.replace("|", r"\|").split()) for cell in row] for row in grid]
    padded = []
    for i, column in enumerate(zip(*escaped, strict=True)):
        width = max(3, *map(len, column))
        rule = "-" * width if i < words else "-" * (width - 1) + ":"
        cells = [column[0], rule, *column[1:]]
        if any(column):
            padded.append([c.ljust(width) if i < words else c.rjust(width) for c in cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*padded, strict=True))
