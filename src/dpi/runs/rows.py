"""Rows: the result of every evaluation, one number each, in one schema."""

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpi.atomic import atomic_write
from dpi.errors import UserError


@dataclass(frozen=True)
class Row:
    """One number."""

    metric: str
    """What it is, with its unit where it has one: mse, fid, training_peak_mib."""
    value: float
    standard_error: float | None = None
    """Over noise seeds, if there are several."""
    scalar: int | None = None
    """The step; None for an overall number."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What else it depends on: number of images, solver, device."""


NO_IDENTITY = ("value", "standard_error", "images", "split")
"""Keys that may differ in two rows of the same number. The images and the split are those of the
run; rows of earlier versions lack them."""


def write_rows(path: Path, header: dict[str, Any], rows: Iterable[Row]) -> None:
    """Add rows to a JSON file, a list of objects: the header's keys and those of Row.

    A row replaces the one that it agrees with but for NO_IDENTITY; all others are kept. A file of
    something else, or a damaged one, is moved aside.

    Raises:
        UserError: a value is not finite, or the file cannot be written; it is as it was.
    """
    made = [header | asdict(row) for row in rows]
    for row in made:
        if not math.isfinite(row["value"]):
            raise UserError(f"{path}: {row['metric']} is {row['value']}, so it is not written")
    try:
        kept = read_rows(path)
    except FileNotFoundError:
        kept = []
    except ValueError as error:
        aside = path.rename(path.with_name(f"{path.name}.damaged"))
        print(f"warning: {path} was damaged ({error}), it is {aside.name} now", file=sys.stderr)
        kept = []
    rows_by_identity = {_identity(row): row for row in [*kept, *made]}
    lines = ",\n".join(json.dumps(row) for row in rows_by_identity.values())
    atomic_write(path, f"[\n{lines}\n]\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in a file that `write_rows` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or is damaged.
    """
    rows = json.loads(path.read_text("utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("is not a list of rows")
    for row in rows:
        row.pop("crc32", None)  # of earlier versions
        if not {"metric", "value", "settings"} <= row.keys():
            raise ValueError("holds something else than rows")
    return rows


def is_kept(folder: Path, name: str) -> bool:
    """Whether the rows of an evaluation are there, and not damaged."""
    try:
        read_rows(folder / f"{name}.json")
    except (FileNotFoundError, ValueError):
        return False
    return True


def _identity(row: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if k not in NO_IDENTITY}, sort_keys=True)


SHOWN = 8
"""With more scalars than this, four are shown: the ends and those nearest to the thirds."""


FEW_DRAWS = 5
"""Of fewer draws of noise no standard error is shown: that of two says nothing."""


def as_text(rows: list[Row], num_scalars: int | None = None) -> str:
    """Rows as text: a line for each scalar, a column for each metric; and what means and standard
    errors are of.

    Args:
        rows: of one evaluation.
        num_scalars: of the schedule, where a row is a mean over it.
    """
    import pandas as pd  # takes half a second, and most commands show no rows

    scalars = sorted({row.scalar for row in rows if row.scalar is not None})
    if len(scalars) > SHOWN:
        thirds = [i * scalars[-1] / 3 for i in range(4)]
        scalars = [min(scalars, key=lambda s: abs(s - third)) for third in thirds]
    lines = {
        "all" if scalar is None else scalar: {
            row.metric: _cell(row) for row in rows if row.scalar == scalar
        }
        for scalar in [*scalars, None]
    }
    shown = pd.DataFrame.from_dict({k: v for k, v in lines.items() if v}, orient="index")
    text = shown.fillna("-").rename_axis(columns="scalar").to_string()
    taken = {row.settings["scalars"] for row in rows if "scalars" in row.settings}
    about = [f"all: the mean over the schedule, from {n:,} of {num_scalars:,} steps" for n in taken]
    if any(_has_error(row) and "noise_seeds" in row.settings for row in rows):
        about.append("±: standard error over draws of noise; the images are the same in each")
    return "\n".join([text, *[""] * bool(about), *about])


def _has_error(row: Row) -> bool:
    draws = row.settings.get("noise_seeds", FEW_DRAWS)  # an inception score has none
    return row.standard_error is not None and draws >= FEW_DRAWS


def _cell(row: Row) -> str:
    value = f"{row.value:,}" if isinstance(row.value, int) else f"{row.value:.4g}"
    return f"{value} ± {row.standard_error:.1g}" if _has_error(row) else value
