"""What names and settings are called in print, and in which order they come."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

LABELS = {
    "drunet": "DRUNet",
    "adm": "ADM",
    "ncsnv2": "NCSNv2",
    "sigmamap": "σ map",
    "tmap": "t map",
    "mlp": "MLP",
    "film": "FiLM",
    "lowrank": "low-rank sets",
    "mixture": "mixture",
    "dpi": "DPI",
}
"""Names as they are printed; names of one's own are printed as they are."""

LAMBDAS = {"DPI, schedule = linear": "λ(s) = s", "DPI": "λ learned"}
"""The models of Table 5, and what they are called there."""

ORDER = [*LABELS, "diffusion", "flow", *LABELS.values(), *LAMBDAS.values(), "default"]


def order(column: pd.Series) -> pd.Series:
    """A sort key of labels: the paper's in its order, others behind them, and 8 before 16."""
    ranks = {name: f"{i:02}" for i, name in enumerate(ORDER)}
    return column.map(lambda text: ranks.get(text.partition(",")[0], "99") + natural(text))


def natural(text: str) -> str:
    """A sort key of one text, its numbers by their value."""
    return re.sub(r"\d+", lambda number: number[0].zfill(12), text)


def label(name: str, *settings: str) -> str:
    """E.g. "DPI, schedule = linear", or "DPI + t map" of the name dpi+tmap."""
    names = " + ".join(LABELS.get(part, part) for part in name.split("+"))
    return ", ".join([names, *settings])


def title(names: Iterable[str], protocol: str = "") -> str:
    """Of a block of a table, e.g. "DRUNet, diffusion; held_out = 200"."""
    return "; ".join(filter(None, [", ".join(map(label, names)), protocol]))


def setting(key: str, value: Any) -> str:
    """E.g. "channels = 23, 45"."""
    values = value if isinstance(value, list) else [value]
    texts = (v if isinstance(v, str) else json.dumps(v, default=str) for v in values)
    return f"{key} = {', '.join(texts)}"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted key; the whole key if several end alike, but for `cond`'s."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: s if count[s] == 1 or key == f"cond.{s}" else key for key, s in last.items()}


def some(names: Iterable[str], separator: str = ", ", most: int = 3) -> str:
    """The first of many names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more
