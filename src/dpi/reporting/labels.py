"""What names and settings are called in print, and in which order they come."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from dpi.described import described

PRINTED = {
    name: printed
    for package in ("architectures", "conditioning")
    for name, (printed, _) in described(package).items()
} | {"lowrank": "low-rank sets"}
"""Names as they are printed; those of one's own as they are. Low-rank sets are gone, their rows are
not."""

LAMBDAS = {"DPI, schedule = linear": "λ(s) = s", "DPI": "λ learned"}
"""The models of Table 5, and what they are called there."""

NAMES = ("drunet", "adm", "ncsnv2", "sigmamap", "tmap", "mlp", "dpi", "diffusion", "flow")
"""In the order of the paper; others come behind."""

ORDER = [*NAMES, *(PRINTED.get(name, name) for name in NAMES), *LAMBDAS.values(), "default"]

MODEL = ("arch.", "cond.")
"""Settings of the model. All others are the protocol: how it was trained, and on what. Settings of
the architecture that all models of a block have are of the protocol, too."""

LABELS = ["model", "protocol", "block", "on"]


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, in the order of the tables, with LABELS for people: `model` and `protocol`, each
    with the settings that belong to it; `block`, network, framework and protocol; and `on`, see
    `lengths_and_images`, a part of the protocol.

    Args:
        runs: as from `read_folder`.
    """
    runs = runs.assign(on=lengths_and_images(runs), parts=runs.config.map(said(runs.config)))
    shared: dict[Any, set[str]] = {}
    for run in runs.itertuples():
        arch = {part for key, part in run.parts.items() if key.startswith("arch.")}
        shared[_kind(run)] = shared.get(_kind(run), arch) & arch
    labels = [_labels(run, shared[_kind(run)]) for run in runs.itertuples()]
    runs = runs.assign(**pd.DataFrame(labels, runs.index, LABELS[:3])).drop(columns="parts")
    return runs.sort_values(["protocol", "arch", "framework", "model"], key=order, kind="stable")


def lengths_and_images(runs: pd.DataFrame) -> pd.Series:
    """E.g. "steps = 3000, images 0123abcd, split 4567cdef": how long a run is trained, and on which
    images, each if the runs of a data set and scale differ in it."""
    known = runs[["images", "split"]].astype(object).fillna("unknown").astype(str)
    texts = (
        "steps = " + runs.training_steps.astype(str),
        "images " + known.images.str[:8] + ", split " + known.split,
    )
    kind = [runs.data, runs.scale]
    shown = [text.where(text.groupby(kind).transform("nunique") > 1, "") for text in texts]
    return shown[0].str.cat(shown[1], ", ").str.strip(", ")


def _kind(run: Any) -> tuple[str, ...]:
    """What the runs of a block have in common."""
    protocol = (part for key, part in run.parts.items() if not key.startswith(MODEL))
    return run.data, run.scale, run.on, run.framework, run.arch, *protocol


def _labels(run: Any, shared: set[str]) -> tuple[str, ...]:
    """Of a run whose settings read as `parts`; all runs of its kind have those in `shared`."""
    of_model = [k for k, part in run.parts.items() if k.startswith(MODEL) and part not in shared]
    model = label(run.cond, *(run.parts[key] for key in of_model))
    protocol = [part for key, part in run.parts.items() if key not in of_model]
    text = ", ".join(filter(None, [*protocol, run.on]))
    return model, text, title([run.arch, run.framework], text)


def said(configs: Iterable[str]) -> dict[str, dict[str, str]]:
    """The settings of each `config` as text by their keys, e.g. "channels = 23, 45". A key is shown
    by its last part, or as a whole if several end alike, but for those of `cond`."""
    settings = {config: json.loads(config) for config in configs}
    last = {key: key.rpartition(".")[2] for own in settings.values() for key in own}
    count = Counter(last.values())
    short = {key: s if count[s] == 1 or key == f"cond.{s}" else key for key, s in last.items()}
    return {
        config: {key: setting(short[key], value) for key, value in own.items()}
        for config, own in settings.items()
    }


def setting(key: str, value: Any) -> str:
    """E.g. "channels = 23, 45"."""
    values = value if isinstance(value, list) else [value]
    return f"{key} = {', '.join(of if isinstance(of, str) else json.dumps(of) for of in values)}"


def order(column: pd.Series) -> pd.Series:
    """A sort key of labels: the paper's in its order, others behind them, and 8 before 16."""
    ranks = {name: f"{i:02}" for i, name in enumerate(ORDER)}
    return column.map(lambda text: ranks.get(text.partition(",")[0], "99") + natural(text))


def natural(text: str) -> str:
    """A sort key of one text, its numbers by their value."""
    return re.sub(r"\d+", lambda number: number[0].zfill(12), text)


def label(name: str, *settings: str) -> str:
    """E.g. "DPI, schedule = linear", or "DPI + t map" of the name dpi+tmap."""
    names = " + ".join(PRINTED.get(part, part) for part in name.split("+"))
    return ", ".join([names, *settings])


def title(names: Iterable[str], protocol: str = "") -> str:
    """Of a block of a table, e.g. "DRUNet, diffusion; held_out = 200"."""
    return "; ".join(filter(None, [", ".join(map(label, names)), protocol]))


def some(names: Iterable[str], separator: str = ", ", most: int = 3) -> str:
    """The first of many names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more
