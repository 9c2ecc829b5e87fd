"""Rows: the result of every evaluation, one number each, in one schema."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpi.runs.files import atomic_write


@dataclass(frozen=True)
class Row:
    """One number."""

    metric: str
    """What it is, with its unit where it has one: mse, fid, peak_memory_mb."""
    value: float
    standard_error: float | None = None
    """Over noise seeds, if there are several."""
    scalar: int | None = None
    """The step; None for an overall number."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What else it depends on: number of images, solver, device."""


def write_rows(path: Path, header: dict[str, Any], rows: Iterable[Row]) -> None:
    """Add rows to a JSON file, a list of objects: the header's keys and those of Row.

    A row replaces one that differs from it in value and standard error alone; all others are kept.
    """
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = {_identity(row): row for row in [*kept, *(header | asdict(row) for row in rows)]}
    lines = ",\n".join(json.dumps(row) for row in kept.values())
    atomic_write(path, f"[\n{lines}\n]\n")


def _identity(row: dict[str, Any]) -> str:
    measured = ("value", "standard_error")
    return json.dumps({k: v for k, v in row.items() if k not in measured}, sort_keys=True)


SHOWN = 8
"""With more scalars than this, a table shows four: the ends and those nearest to the thirds."""


def table(rows: list[Row]) -> str:
    """Rows as text: a line for each scalar, a column for each metric."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    scalars = sorted({row.scalar for row in rows if row.scalar is not None})
    if len(scalars) > SHOWN:
        thirds = [i * scalars[-1] / 3 for i in range(4)]
        scalars = [min(scalars, key=lambda s: abs(s - third)) for third in thirds]
    cells = {(row.scalar, row.metric): _cell(row) for row in rows}
    lines = [["scalar", *metrics]]
    for scalar in [*scalars, None]:
        found = [cells.get((scalar, metric), "-") for metric in metrics]
        if any(cell != "-" for cell in found):
            lines.append(["all" if scalar is None else str(scalar), *found])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cell(row: Row) -> str:
    value = f"{row.value:,}" if isinstance(row.value, int) else f"{row.value:.4g}"
    return value if row.standard_error is None else f"{value} ± {row.standard_error:.1g}"
