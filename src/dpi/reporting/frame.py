"""A folder of runs as two DataFrames: a row a run, and a row a number."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dpi.errors import UserError
from dpi.reporting.architecture import facts
from dpi.reporting.labels import label, natural, order, setting, short_names, title
from dpi.runs import rows
from dpi.runs.identity import is_plain

NAMES = ["data", "scale", "framework", "arch", "cond"]
"""What a configuration's `names` says."""

Damaged = dict[Path, str] | None
"""What is to be said of files that could not be read."""

READING = (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError, OSError)
"""What reading a damaged file raises."""

MODEL = ("arch.", "cond.")
"""Settings of the model. All others are the protocol: how it was trained, and on what. Settings of
the architecture that all models of a block have are of the protocol, too."""


def number(value: Any) -> float:
    """A number to six significant digits, as results.csv has it; whole ones are exact."""
    exact = float(value)
    return exact if exact.is_integer() else float(f"{exact:.6g}")


ROW = {
    "eval": str,
    "metric": str,
    "scalar": lambda scalar: None if scalar is None else int(scalar),
    "value": number,
    "standard_error": lambda error: None if error is None else number(error),
    "step": int,
    "finished": bool,
    "weights": str,
}
"""What a row of evaluation/*.json says, beside its settings; what is not so raises."""

IMAGES = ("images", "split")
"""The data set's fingerprint, and a hash of which images are held or left out. Rows of older versions
have neither."""

THOROUGH = [f"settings.{key}" for key in ("scalars", "noise_seeds", "pictures", "n")]
"""Settings of an evaluation of which more is better, the most important one first."""


def read_runs(folder: Path, damaged: Damaged = None) -> tuple[pd.DataFrame, list[str]]:
    """All runs directly in a folder.

    Args:
        folder: such as outputs.
        damaged: see `parse`.

    Returns:
        The runs by name, in the order of the tables, and the names of folders whose configuration
        has no `names` or no `settings`. Of a run: its `folder`, the `text` of config.yaml,
        `architecture` (see `facts`), names, seed, steps and batch size; `config`, a JSON object of
        what distinguishes it from the default run, by dotted key; and labels for people:
        `network`, `model` and `protocol`, each with the settings that belong to it, `variant`,
        all settings, and `block`, network, framework and protocol.

    Raises:
        UserError: a configuration that cannot be read, or a name that cannot be a file's.
    """
    paths = sorted(folder.glob("*/config.yaml"), key=lambda path: natural(path.parent.name))
    remedy = "repair it, or move its folder away"
    found = {path.parent: parse(path, _run, remedy, damaged) for path in paths}
    runs = {path: run for path, run in found.items() if run}
    short = short_names({key for run in runs.values() for key in json.loads(run["config"])})
    common = _common(runs.values())
    frame = pd.DataFrame(
        {"run": path.name, "folder": path} | run | _labels(run, short, common[_block(run)])
        for path, run in runs.items()
    )
    if runs:
        frame = in_order(frame.set_index("run"))
    return frame, [path.name for path, run in found.items() if run == {}]


def in_order(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs in the order of the tables."""
    places = ["protocol", "arch", "framework", "model", "variant"]
    return runs.sort_values(places, key=order, kind="stable")


def read_rows(runs: pd.DataFrame, damaged: Damaged = None) -> pd.DataFrame:
    """All rows of the runs' evaluations and what their configurations say of the architecture, with
    the runs' names and labels.

    Args:
        runs: as from `read_runs`.
        damaged: see `parse`.

    Raises:
        UserError: a file that cannot be read.
    """
    rows = pd.DataFrame(
        {"run": run.Index, **row}
        for run in runs.itertuples()
        for row in [*_architecture(run), *_evaluations(run.folder, damaged)]
    )
    return labelled(runs, rows)


def labelled(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of these runs, in their order, with their names and labels."""
    rows = rows.reindex(columns=rows.columns.union(["run", *ROW, *IMAGES, *THOROUGH], sort=False))
    rows = rows.astype(
        {"scalar": "Int64", "value": float, "standard_error": float, "finished": bool}
    )
    labels = runs.drop(columns=["folder", "text", "architecture"], errors="ignore")
    return labels.merge(rows, on="run")


def results(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each run, metric and scalar one row: the most thorough one of the last weights."""
    rows = rows[is_final(rows)]
    rows = rows[rows.step == rows.groupby(["run", "eval"]).step.transform("max")]
    rows = rows[rows.weights == rows.groupby(["run", "eval"]).weights.transform("last")]
    numbers = partial(pd.to_numeric, errors="coerce")
    by_effort = rows.sort_values(THOROUGH, key=numbers, na_position="first")
    return by_effort.drop_duplicates(["run", "metric", "scalar"], keep="last").sort_index()


def is_final(rows: pd.DataFrame) -> pd.Series:
    """Whether each row was measured at the end of the training."""
    return rows.finished & (rows.step >= rows.training_steps)


def parse(path: Path, reader: Callable[[Path], Any], remedy: str, damaged: Damaged = None) -> Any:
    """What `reader` makes of a file.

    Args:
        path: of the file.
        reader: what it raises says that the file is damaged.
        remedy: what the message of the error ends with.
        damaged: where the message goes in place of being raised; the file is as good as absent
            then.

    Returns:
        None for a damaged file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return reader(path)
    except READING as error:
        reason = " ".join(str(error).split())
        message = f"{path} cannot be read ({reason}): {remedy}"
        if damaged is None:
            raise UserError(message) from None
        damaged[path] = message
        return None


def check_names(names: dict[str, str]) -> None:
    """Raise ValueError if the folder of the report, DATA-SCALE, would not have a plain name."""
    for name in ("data", "scale"):
        if not is_plain(names[name]):
            raise ValueError(f"names.{name}={names[name]!r} is not a plain name")


def _run(path: Path) -> dict[str, Any]:
    """Empty if it has no `names` or no `settings`."""
    text = path.read_text("utf-8")
    config = yaml.load(text, yaml.CSafeLoader)
    if not isinstance(config, dict) or not {"names", "settings"} <= config.keys():
        return {}
    names = {name: config["names"][name] for name in NAMES}
    check_names(names)
    settings = {str(key): value for key, value in sorted(config["settings"].items())}
    return names | {
        "text": text,
        "architecture": facts(config.get("arch")),
        "seed": int(config["seed"]),
        "training_steps": int(config["training"]["steps"]),
        "batch_size": int(config["training"]["batch_size"]),
        "config": json.dumps(settings, ensure_ascii=False, default=str),
    }


def _block(run: dict[str, Any]) -> str:
    """What runs have in common that are compared with each other."""
    protocol = {k: v for k, v in json.loads(run["config"]).items() if not k.startswith(MODEL)}
    return str([*(run[name] for name in NAMES if name != "cond"), protocol])


def _common(runs: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    """By block, the settings of the architecture that all its runs have."""
    common: dict[str, dict[str, Any]] = {}
    for run in runs:
        arch = {k: v for k, v in json.loads(run["config"]).items() if k.startswith("arch.")}
        before = common.get(_block(run), arch)
        common[_block(run)] = {k: v for k, v in before.items() if k in arch and arch[k] == v}
    return {block: set(settings) for block, settings in common.items()}


def _labels(run: dict[str, Any], short: dict[str, str], common: set[str]) -> dict[str, str]:
    parts = {key: setting(short[key], value) for key, value in json.loads(run["config"]).items()}
    own = [key for key in parts if key.startswith(MODEL) and key not in common]
    protocol = ", ".join(part for key, part in parts.items() if key not in own)
    arch = [part for key, part in parts.items() if key.startswith("arch.")]
    model = [parts[key] for key in own]
    return {
        "network": label(run["arch"], *arch),
        "model": label(run["cond"], *model),
        "protocol": protocol,
        "variant": "; ".join(parts.values()),
        "block": title([run["arch"], run["framework"]], protocol),
    }


def _architecture(run: Any) -> Iterator[dict[str, Any]]:
    alike = {"eval": "architecture", "step": run.training_steps, "finished": True, "weights": ""}
    for metric, value in run.architecture.items():
        yield alike | {"metric": metric, "value": value}


def _evaluations(folder: Path, damaged: Damaged) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("evaluation/*.json")):
        yield from parse(path, _rows, "evaluate the run again", damaged) or []


def _rows(path: Path) -> list[dict[str, Any]]:
    return [
        {key: convert(row[key]) for key, convert in ROW.items()}
        | {key: row.get(key) for key in IMAGES}
        | {f"settings.{key}": value for key, value in row["settings"].items()}
        for row in rows.read_rows(path)
    ]
