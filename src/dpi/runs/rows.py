"""Rows: the result of every evaluation, one number each, in one schema."""

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Required

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from dpi.atomic import atomic_write
from dpi.errors import UserError
from dpi.runs.files import read_json


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


NO_IDENTITY = ("value", "standard_error", "images", "split", "checkpoint")
"""Keys that may differ in two rows of the same number. The images and the split are those of the
run, the checkpoint that of the weights; rows of earlier versions lack them."""


class _Kept(TypedDict, total=False):
    """A row in a file: one of Row with a header."""

    __pydantic_config__ = ConfigDict(strict=True)

    metric: Required[str]
    value: Required[float]
    standard_error: float | None
    scalar: Annotated[int, Field(ge=0, lt=2**31)] | None
    settings: Required[dict[str, Any]]
    eval: str
    run: str
    step: Annotated[int, Field(ge=0, lt=2**31)]
    finished: bool
    weights: str
    checkpoint: str | None


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
    rows_by_identity = {_identity(row): row for row in kept}
    for row in made:  # the newest come last
        rows_by_identity.pop(_identity(row), None)
        rows_by_identity[_identity(row)] = row
    lines = ",\n".join(json.dumps(row) for row in rows_by_identity.values())
    atomic_write(path, f"[\n{lines}\n]\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in a file that `write_rows` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or is damaged.
    """
    rows = read_json(path)
    try:
        TypeAdapter(list[_Kept]).validate_python(rows)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ValueError(f"it holds something else than rows, at {where}") from None
    for row in rows:
        row.pop("crc32", None)  # of earlier versions
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
