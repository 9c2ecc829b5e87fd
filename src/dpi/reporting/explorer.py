"""What the page shows of a single run: samples, curves, metrics."""

import base64
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dpi.errors import UserError
from dpi.reporting.frame import parse
from dpi.reporting.labels import natural
from dpi.runs.status import duration, read_status

POINTS = 200
"""Of a curve, at most."""

SIDE = 400
"""Pixels of an image, at most."""


def explore(runs: pd.DataFrame, results: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """For each run by name what page.html.j2 shows of it.

    Raises:
        UserError: a file that cannot be read.
    """
    numbers = results[["run", "metric", "scalar", "value"]]
    overall = numbers[numbers.scalar.isna()].set_index("metric").groupby("run").value
    lambdas = numbers[numbers.metric == "lambda"].set_index("scalar").groupby("run").value
    metrics = {run: own.to_dict() for run, own in overall}
    learned = {run: {"lambda": own.sort_index()} for run, own in lambdas}
    for name, run in runs.sort_index(key=lambda names: names.map(natural)).iterrows():
        status, log = read_status(run.folder), losses(run.folder)
        shown = run.folder.glob("samples/step_*.png")
        shown = [*sorted(shown), *run.folder.glob("evaluation/samples.png")]
        done = "done" if status.step >= run["training.steps"] else ""
        yield {
            **run,
            "name": name,
            "status": status,
            "state": "failed" if status.failed else status.stage or done,
            "time": duration(status.seconds) if status.seconds else "",
            "val_loss": log["val_loss"].iloc[-1] if "val_loss" in log else None,
            "metrics": metrics.get(name, {}),
            "samples": data_uri(shown[-1]) if shown else None,
            "curves": [curve(log, log=True), curve(learned.get(name, {}))],
        }


def losses(run: Path) -> dict[str, pd.Series]:
    """What a run logged of `loss` and `val_loss`, by step."""
    paths = sorted(run.glob("log/version_*/metrics.csv"), key=lambda path: natural(str(path)))
    logs = [parse(path, _log, "delete it") for path in paths if path.stat().st_size]
    log = pd.concat(logs) if logs else pd.DataFrame()
    series = {name: log[name].dropna() for name in log}
    # Later sessions overwrite the steps that they did again.
    return {
        k: s[~s.index.duplicated(keep="last")].sort_index() for k, s in series.items() if len(s)
    }


def curve(lines: dict[str, pd.Series], log: bool = False) -> dict[str, Any] | None:
    """Lines as points of an SVG polyline in 240 x 100, and the ends of the axes.

    Args:
        lines: by name, numbers by step.
        log: a logarithmic vertical axis, of positive numbers.
    """
    lines = {name: thin(line[(line > 0) | (not log)].astype(float)) for name, line in lines.items()}
    numbers = pd.concat(lines) if lines else pd.Series()
    if numbers.empty:
        return None
    low, high, last = numbers.min(), numbers.max(), numbers.index.get_level_values(-1).max()
    scale = np.log if log else np.asarray
    height = scale(high) - scale(low) or 1
    paths = {}
    for name, line in lines.items():
        y = 100 - 90 * (scale(line) - scale(low)) / height
        points = zip(240 * line.index.to_numpy(float) / max(last, 1), y, strict=True)
        paths[name] = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return {"paths": paths, "low": low, "high": high, "last": last}


def thin(points: Any) -> Any:
    """A series or frame of at most POINTS of its rows, evenly spread, both ends included."""
    rows = np.linspace(0, len(points) - 1, min(POINTS, len(points)))
    return points.iloc[rows.round().astype(int)]


@cache
def data_uri(path: Path) -> str:
    """An image as a small WebP inside a data: address; UserError if it cannot be read."""
    file = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.thumbnail((SIDE, SIDE))
            image.convert("RGB").save(file, "WEBP", quality=85, method=2)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{path} cannot be read: delete it and sample again") from None
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _log(text: str) -> pd.DataFrame:
    log = pd.read_csv(io.StringIO(text), index_col="step")
    return log[[name for name in ("loss", "val_loss") if name in log]].astype(float)
