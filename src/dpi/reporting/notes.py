"""What is to be said under a table."""

from dataclasses import replace

from dpi.reporting.likeness import Note, likeness
from dpi.reporting.table import Table


def noted(table: Table) -> Table:
    """The table with its notes, warnings first."""
    numbers = [m for line in table.lines for cell in line.cells.values() for m in cell.measured]
    notes = [*_elsewhere(table), *_few_seeds(table), *likeness(numbers)]
    return replace(table, notes=tuple(sorted(notes, key=lambda note: not note.warning)))


def _elsewhere(table: Table) -> list[Note]:
    run = next(run for line in table.lines for run in line.runs)
    data, scale, shared = run.names["data"], run.names["scale"], sorted(run.shared)
    if (data, scale, shared) == ("ffhq64", "paper", []):
        return []
    if not any(table.in_paper(column) for column in table.columns):
        return []
    here = f"ours are of {data} at scale {scale}" + (f" with {', '.join(shared)}" if shared else "")
    return [Note(f"The paper's numbers are of FFHQ at 64x64 and 500,000 steps; {here}.")]


def _few_seeds(table: Table) -> list[Note]:
    few = [
        f"{column.title} of {block.title} {line.title} has {len(ours)} of {len(line.seeds)}"
        for block in table.blocks
        for line in block.lines.values()
        for column in table.columns
        if column.key != "change"
        and (ours := line.cells[column.key].ours)
        and len(ours) < len(line.seeds)
    ]
    return [Note(f"Seeds are missing: {'; '.join(few)}.", warning=True)] if few else []
