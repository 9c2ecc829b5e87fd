"""The runs of a folder, with their configurations and rows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dpi.errors import UserError

NAMES = ("data", "framework", "arch", "cond", "scale", "variant")
"""What a configuration's `names` says."""

THOROUGH = ("scalars", "noise_seeds", "pictures", "n")
"""Settings of which more is better, the weightiest first."""

Row = dict[str, Any]
"""As in the files: metric, value, standard_error, scalar, settings, step, finished, weights."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a run's folder tells."""

    folder: Path
    text: str
    """config.yaml as it is."""
    config: dict[str, Any]
    rows: dict[tuple[str, int | None], Row]
    """By metric and scalar."""
    unfinished: int
    """How many rows were measured before the end of the training, and are left out."""
    shared: frozenset[str] = frozenset()
    """Settings that all runs of the report have, see `dpi.reporting.variant`."""

    @property
    def names(self) -> dict[str, str]:
        return self.config["names"]

    @property
    def settings(self) -> list[str]:
        """Those that are not the defaults, as its name has them: schedule_linear, ..."""
        return [setting for setting in self.names["variant"].split("-") if setting]

    @property
    def variant(self) -> str:
        """The settings that tell it from other runs of its kind; empty for a plain run."""
        return "-".join(setting for setting in self.settings if setting not in self.shared)

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def kind(self) -> tuple[str, str, str]:
        """Framework, network and conditioning."""
        return self.names["framework"], self.names["arch"], self.names["cond"]

    @property
    def samples(self) -> Path:
        """A grid of samples, where there is one."""
        return self.folder / "evaluation" / "samples.png"

    def curve(self, metric: str) -> dict[int, float]:
        """A metric over the scalar."""
        points = {s: row["value"] for (name, s), row in self.rows.items() if name == metric}
        points.pop(None, None)
        return dict(sorted(points.items()))


def collect(folder: Path) -> tuple[list[Run], int]:
    """Read all runs directly in a folder.

    Returns:
        The runs in the order of their names, and how many folders with a configuration were
        left out for want of `names`.

    Raises:
        UserError: a file that cannot be read.
    """
    paths = sorted(folder.glob("*/config.yaml"))
    runs = [run for run in map(_read, paths) if run is not None]
    return runs, len(paths) - len(runs)


def sets(
    runs: Iterable[Run], data: str | None, scale: str | None
) -> dict[tuple[str, str], list[Run]]:
    """The runs of each data set at each scale, or of these alone.

    Raises:
        UserError: there are none of these.
    """
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.names["data"], run.names["scale"]), []).append(run)
    chosen = {
        (of, at): own
        for (of, at), own in found.items()
        if data in (None, of) and scale in (None, at)
    }
    if not chosen:
        choices = " or ".join(f"names.data={d} names.scale={s}" for d, s in sorted(found))
        asked = [f"names.{k}={v}" for k, v in (("data", data), ("scale", scale)) if v is not None]
        raise UserError(f"there are no runs of {' '.join(asked)}: choose {choices}")
    return chosen


def single(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Of several runs that have names and seed in common the first; and the others."""
    kept: dict[tuple[str, ...], Run] = {}
    others = []
    for run in runs:
        key = (*(run.names[name] for name in NAMES), run.seed)
        if kept.setdefault(key, run) is not run:
            others.append(run)
    return list(kept.values()), others


def _read(path: Path) -> Run | None:
    text = path.read_text()
    try:
        config = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError:
        raise UserError(f"{path} cannot be read: mend it, or take its folder away") from None
    names = config.get("names") if isinstance(config, dict) else None
    if not isinstance(names, dict) or not names.keys() >= set(NAMES):
        return None
    rows: dict[tuple[str, int | None], Row] = {}
    unfinished = 0
    for file in sorted((path.parent / "evaluation").glob("*.json")):
        found = _load(file)
        finished = [row for row in found if row["finished"]]
        unfinished += len(found) - len(finished)
        rows |= _best(finished)
    return Run(path.parent, text, config, rows, unfinished)


def _load(path: Path) -> list[Row]:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError:
        raise UserError(f"{path} cannot be read: delete it and evaluate the run again") from None


def _best(rows: list[Row]) -> dict[tuple[str, int | None], Row]:
    """Of each metric and scalar the last weights' most thorough row."""
    if not rows:
        return {}
    last = max(rows, key=lambda row: row["step"])["step"]
    weights = next(row["weights"] for row in reversed(rows) if row["step"] == last)
    best: dict[tuple[str, int | None], Row] = {}
    for row in rows:
        if row["step"] == last and row["weights"] == weights:
            key = (row["metric"], row["scalar"])
            if key not in best or _effort(row) >= _effort(best[key]):
                best[key] = row
    return best


def _effort(row: Row) -> list[int]:
    return [row["settings"].get(key, 0) for key in THOROUGH]
