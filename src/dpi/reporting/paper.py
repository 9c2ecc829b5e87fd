"""The tables of paper.yaml: what each shows, and the numbers that the paper prints."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import floor, isfinite, isnan, log10, nan
from typing import Any

import pandas as pd
import yaml

from dpi.reporting.labels import label

MISSING = "–"  # noqa: RUF001 - a dash, as in printed tables


@dataclass(frozen=True)
class Column:
    """A column: which results it shows, and how."""

    title: str
    metric: str = ""
    scalar: int | None = None
    framework: str | None = None
    unit: float = 1.0
    better: str = ""
    decimals: int | None = None
    significant: int = 0
    sign: str = ""

    @property
    def direction(self) -> float:
        """The best of some values is the smallest times this; nan if none is better."""
        return {"lower": 1.0, "higher": -1.0, "": nan}[self.better]

    def show(self, value: float, error: float = nan) -> tuple[str, str]:
        """A number and its error as text, 5.282e-1 and 0.012e-1; no text if it is 0 or nan."""
        if not isfinite(value):
            return MISSING if isnan(value) else str(value), ""
        scale, suffix, places = 1.0, "", self.decimals
        if places is None:
            power = int(f"{value:.3e}".partition("e")[2])
            scale, suffix, places = 10.0**power, f"e{power}", 3
        elif self.significant and value:
            places = max(places, self.significant - 1 - floor(log10(abs(value))))
        rounded = f"{error / scale:.{places}f}"
        small = f"{error:.1g}" if error > 0 else ""
        return (
            f"{value / scale:{self.sign},.{places}f}{suffix}",
            rounded + suffix if float(rounded) > 0 else small,
        )


@dataclass(frozen=True)
class Spec:
    """A table: its name, also of its files and its make target, and what paper.yaml says."""

    name: str
    title: str
    caption: str
    stub: str
    keys: list[str]
    columns: dict[str, Column]
    paper: list[list[Any]]
    compared: bool = False
    """Whether the other rows of a block are compared with one of them, see `pairs`."""
    reference: str = ""
    """That row; the first if there is no name."""
    best_first: bool = False


@cache
def specs() -> dict[str, Spec]:
    """All tables by name, in their order."""
    text = files(__package__).joinpath("paper.yaml").read_text("utf-8")
    tables = yaml.load(text, yaml.CSafeLoader)
    return {name: Spec(name, **of | {"columns": _columns(of)}) for name, of in tables.items()}


def _columns(table: dict[str, Any]) -> dict[str, Column]:
    """Behind each column that of the paper's numbers."""
    columns = {}
    for key, about in table["columns"].items():
        columns[key] = Column(**about)
        columns[f"paper {key}"] = replace(columns[key], title="paper", metric="")
    return columns


def printed(table: str) -> pd.DataFrame:
    """The paper's numbers in one table, a row a number: framework, arch, row, column ("paper fid"),
    value."""
    of, paper = ["framework", "arch", "row"], specs()[table].paper
    columns = [key for key in specs()[table].columns if key.startswith("paper ")]
    numbers = pd.DataFrame(paper, columns=[*of, *columns]).melt(of, var_name="column")
    return numbers.assign(row=numbers.row.map(label)).dropna(subset="value")
