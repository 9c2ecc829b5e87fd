"""A folder of runs as two DataFrames: a row a run, and a row a number."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from dpi.reporting.labels import LABELS, natural
from dpi.runs import rows
from dpi.runs.files import read_yaml

NAMES = ["data", "scale", "framework", "arch", "cond"]
"""What a configuration's `names` says."""

RUN = [*NAMES, "seed", "training_steps", "batch_size", "config"]
"""Columns of a run. `config` is a JSON object of what distinguishes it from the default of its
kind, by dotted key."""

IMAGES = ["images", "split"]
"""Which images a row was measured on: the data set's fingerprint, and a hash of those that are held
or left out. Rows of older versions have neither."""

THOROUGH = [f"settings.{key}" for key in ("scalars", "noise_seeds", "pictures", "n")]
"""Settings of an evaluation of which more is better, the most important one first."""

ROW = [
    *("eval", "metric", "scalar", "value", "standard_error", "step", "finished", "weights"),
    *(*IMAGES, *THOROUGH),
]
"""Columns of a row; there may be other `settings.*`, all of them text."""

READING = (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError)
"""What reading a damaged file raises."""

Damaged = dict[Path, str]
"""What is to be said of files that could not be read."""


def parse(path: Path, reader: Callable[[Path], Any], remedy: str, damaged: Damaged) -> Any:
    """What `reader` makes of a file; None if it raises one of READING.

    Args:
        path: of the file.
        reader: what it raises says that the file is damaged.
        remedy: what the message ends with.
        damaged: where the message goes.
    """
    try:
        if not path.is_file():  # a pipe would wait for its writer
            raise ValueError("it is no file")
        return reader(path)
    except READING as error:
        damaged[path] = f"{path} cannot be read ({' '.join(str(error).split())}): {remedy}"
        return None


def read_folder(folder: Path, damaged: Damaged) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All runs directly in a folder, and all rows of their evaluations.

    Args:
        folder: such as outputs.
        damaged: see `parse`.

    Returns:
        The runs by name, with RUN, their `folder` and the `text` of config.yaml; and the rows, with
        `run`, ROW and other `settings.*`.
    """
    paths = sorted(folder.glob("*/config.yaml"), key=lambda path: natural(path.parent.name))
    remedy = "repair it, or move its folder away"
    runs = [parse(path, _run, remedy, damaged) for path in paths]
    rows = [
        {"run": run["run"], **row}
        for run in filter(None, runs)
        for path in sorted(run["folder"].glob("evaluation/*.json"))
        for row in parse(path, _rows, "evaluate the run again", damaged) or []
    ]
    found = pd.DataFrame(filter(None, runs), columns=["run", "folder", "text", *RUN])
    return found.set_index("run"), pd.DataFrame(rows)


def _run(path: Path) -> dict[str, Any]:
    if not path.parent.name.isprintable():
        raise ValueError("its name has characters that a terminal obeys")
    config, text = read_yaml(path), path.read_text("utf-8")
    settings = {str(key): value for key, value in sorted(config["settings"].items())}
    return {
        **{"run": path.parent.name, "folder": path.parent, "text": text},
        **{name: str(config["names"][name]) for name in NAMES},
        "seed": int(config["seed"]),
        "training_steps": int(config["training"]["steps"]),
        "batch_size": int(config["training"]["batch_size"]),
        "config": json.dumps(settings, ensure_ascii=False, default=str),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    return [
        {
            **{key: row.get(key) for key in ("scalar", "standard_error", *IMAGES)},
            **{key: str(row[key]) for key in ("eval", "metric", "weights")},
            "value": float(row["value"]),
            "step": int(row["step"]),
            "finished": bool(row["finished"]),
            **{f"settings.{k}": v if v is None else str(v) for k, v in row["settings"].items()},
        }
        for row in rows.read_rows(path)
    ]


def joined(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of these runs, in the order of the runs, with RUN and labels.

    Args:
        runs: as from `labelled`.
        rows: as from `read_folder`.
    """
    rows = rows.reindex(columns=rows.columns.union(["run", *ROW], sort=False))
    types = {"scalar": "Int64", "value": float, "standard_error": float, "finished": bool}
    return runs[[*RUN, *LABELS]].merge(rows.astype(types), on="run")


def is_final(rows: pd.DataFrame) -> pd.Series:
    """Whether each row was measured at the end of the training."""
    return rows.finished & (rows.step >= rows.training_steps)


def results(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each run, metric and scalar one row: the most thorough one of the last weights.

    Args:
        rows: as from `joined`.
    """
    rows = rows[is_final(rows)]
    rows = rows[rows.step == rows.groupby(["run", "eval"]).step.transform("max")]
    rows = rows[rows.weights == rows.groupby(["run", "eval"]).weights.transform("last")]
    numbers = partial(pd.to_numeric, errors="coerce")
    by_effort = rows.sort_values(THOROUGH, key=numbers, na_position="first")
    return by_effort.drop_duplicates(["run", "metric", "scalar"], keep="last").sort_index()
