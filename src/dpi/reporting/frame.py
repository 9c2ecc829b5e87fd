"""A folder of runs as DataFrames: a row a run, a row a number, and a row a logged loss."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpi.reporting.labels import LABELS, natural
from dpi.runs.files import CHECKPOINT, CONFIG, SPLIT, checkpoint_digest, read_yaml
from dpi.runs.identity import is_plain
from dpi.runs.record import read_split
from dpi.runs.rows import read_rows

NAMES = ["data", "scale", "framework", "arch", "cond"]
"""What a configuration's `names` says."""

RUN = [*NAMES, "seed", "training_steps", "batch_size", "training_precision"]
RUN += ["config", "images", "split"]
"""Columns of a run. `config` is a JSON object of what distinguishes it from the default of its
kind, by dotted key; `images` is the fingerprint of its data set, `split` a hash of which images are
held or left out. These two and the precision are missing where they are not recorded."""

THOROUGH = [f"settings.{key}" for key in ("scalars", "noise_seeds", "pictures", "n")]
"""Settings of an evaluation of which more is better, the most important one first."""

ROW = ["eval", "step", "metric", "value", "scalar", "standard_error", *THOROUGH]
"""Columns of a row; there may be other `settings.*`, all of them text."""

TYPES = {"step": int, "finished": bool, "value": float, "scalar": "Int64", "standard_error": float}
"""Of columns that are no text."""

OF_FOLDERS = ["of", "finished", "weights", "checkpoint"]
"""Columns of a row that say whether it counts: the run, the weights and the checkpoint that it is
of. Rows of older versions lack the last."""

Damaged = dict[Path, str]
"""What is to be said of files that could not be read."""


def parse(path: Path, reader: Callable[[Path], Any], remedy: str, damaged: Damaged) -> Any:
    """What `reader` makes of a file; None if it raises anything.

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
    except Exception as error:  # damaged files raise many types
        damaged[path] = f"{path} cannot be read ({' '.join(str(error).split())}): {remedy}"
        return None


def read_folder(folder: Path, damaged: Damaged) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All runs directly in a folder, and all rows of their evaluations.

    Args:
        folder: such as outputs.
        damaged: see `parse`.

    Returns:
        The runs by name, with RUN, their `folder`, the `text` of config.yaml and the digest of the
        `last` checkpoint; and the rows, with `run`, ROW, OF_FOLDERS and other `settings.*`.
    """
    paths = sorted(folder.glob(f"*/{CONFIG}"), key=lambda path: natural(path.parent.name))
    remedy = "repair it, or move its folder away"
    runs = [parse(path, _run, remedy, damaged) for path in paths]
    rows = [
        {"run": run["run"], **row}
        for run in filter(None, runs)
        for path in sorted(run["folder"].glob("evaluation/*.json"))
        for row in parse(path, _rows, "evaluate the run again", damaged) or []
    ]
    found = pd.DataFrame(filter(None, runs), columns=["run", "folder", "text", "last", *RUN])
    return found.set_index("run"), pd.DataFrame(rows)


def _run(path: Path) -> dict[str, Any]:
    folder, config, text = path.parent, read_yaml(path), path.read_text("utf-8")
    if not folder.name.isprintable():
        raise ValueError("its name has characters that a terminal obeys")
    settings = {str(key): value for key, value in sorted(config["settings"].items())}
    split = read_split(folder) if (folder / SPLIT).exists() else None
    names = {name: str(config["names"][name]) for name in NAMES}
    own = json.dumps(settings, ensure_ascii=False, default=str)
    "".join([*names.values(), own]).encode()  # ValueError of half a character
    return {
        **{"run": folder.name, "folder": folder, "text": text},
        **names,
        **{name: plain(config["names"][name]) for name in ("data", "scale")},
        "seed": np.int64(config["seed"]),
        "training_steps": np.int64(config["training"]["steps"]),
        "batch_size": np.int64(config["training"]["batch_size"]),
        "training_precision": str(config["trainer"]["precision"]) if "trainer" in config else None,
        "config": own,
        "images": split and str(split.fingerprint),
        "split": split and split.digest,
        "last": checkpoint_digest(folder / CHECKPOINT),
    }


def plain(name: Any) -> str:
    """The name of a data set or a scale, which is part of a folder's; ValueError if it is none."""
    if not is_plain(name):
        raise ValueError(f"{name!r} is not a plain name")
    return str(name)


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = read_rows(path)
    json.dumps(rows, ensure_ascii=False).encode()  # ValueError of half a character
    return [
        {
            **{key: row[key] for key in ("eval", "step", "metric", "value", "finished", "weights")},
            **{key: row.get(key) for key in ("scalar", "standard_error", "checkpoint")},
            "of": row.get("run"),
            **{f"settings.{k}": v if v is None else str(v) for k, v in row["settings"].items()},
        }
        for row in rows
    ]


def read_losses(runs: pd.DataFrame, damaged: Damaged) -> pd.DataFrame:
    """The `val_loss` that runs in folders logged: run, scalar (the step) and value.

    Args:
        runs: as from `read_folder`.
        damaged: see `parse`.
    """
    losses = []
    for name, folder in dict(runs.get("folder", {})).items():
        paths = sorted(folder.glob("log/version_*/metrics.csv"), key=lambda log: natural(str(log)))
        logs = [parse(path, _log, "delete it", damaged) for path in paths]
        losses += [(name, step, loss) for log in filter(None, logs) for step, loss in log.items()]
    found = pd.DataFrame(losses, columns=["run", "scalar", "value"])
    # Later sessions overwrite the steps that they did again.
    return found.drop_duplicates(["run", "scalar"], keep="last")


def _log(path: Path) -> dict[int, float]:
    if not path.stat().st_size:  # of a session that has only just started
        return {}
    log = pd.read_csv(path, index_col="step").reindex(columns=["val_loss"]).dropna().astype(float)
    return dict(zip(log.index.astype(int), log.val_loss, strict=True))


def joined(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of these runs, in the order of the runs, with RUN, labels, and `left_out`: why the
    row does not count, or nothing.

    Args:
        runs: as from `labelled`.
        rows: as from `read_folder`.
    """
    rows = rows.reindex(columns=rows.columns.union(["run", *ROW, *OF_FOLDERS], sort=False))
    rows = runs[[*RUN, *LABELS]].merge(rows.astype(TYPES), on="run")
    last = rows.run.map(runs["last"])
    own = rows.checkpoint == last
    copied = rows.of.isin(runs.index) & (rows.of != rows.run) & ~own
    seeds = rows.seed.where(~copied).groupby(rows.weights).transform("nunique")
    now = rows.weights.where(own).groupby(rows.run).transform("last")
    gone = np.where(now.notna(), rows.weights != now, rows.checkpoint.notna() & last.notna())
    reasons = {
        "rows of another run": copied,
        "rows of the same weights under several seeds": seeds > 1,
        "rows of other weights than those of its last.ckpt": gone,
        "rows from before the end of the training": (
            ~rows.finished | (rows.step < rows.training_steps)
        ),
    }
    return rows.assign(left_out=np.select([*reasons.values()], [*reasons], ""))


def results(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each run, metric and scalar one row: the most thorough one of the last weights.

    Args:
        rows: as from `joined`.
    """
    rows = rows[rows.left_out == ""]
    rows = rows[rows.step == rows.groupby(["run", "eval"]).step.transform("max")]
    rows = rows[rows.weights == rows.groupby(["run", "eval"]).weights.transform("last")]
    numbers = partial(pd.to_numeric, errors="coerce")
    by_effort = rows.sort_values(THOROUGH, key=numbers, na_position="first")
    return by_effort.drop_duplicates(["run", "metric", "scalar"], keep="last").sort_index()
