"""What the page shows of a single run: samples, curves, metrics."""

import base64
import io
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from dpi.reporting.frame import Damaged, parse
from dpi.reporting.labels import natural
from dpi.runs.status import read_status

POINTS = 200
"""Of a curve, at most."""

SIDE = 400
"""Pixels of an image, at most."""


def explore(
    runs: pd.DataFrame, results: pd.DataFrame, damaged: Damaged = None
) -> Iterator[dict[str, Any]]:
    """For each run by name what page.html.j2 shows of it.

    Args:
        runs, results: as from `frame`.
        damaged: see `parse`.

    Raises:
        UserError: a file that cannot be read.
    """
    measured = results["eval"] != "architecture"
    numbers = results.loc[measured, ["run", "metric", "scalar", "value"]]
    by_run = dict(list(numbers.groupby("run")))
    for name, run in runs.sort_index(key=lambda names: names.map(natural)).iterrows():
        own = by_run.get(name, numbers[:0]).sort_values("scalar")
        status, log = read_status(run.folder), losses(run.folder, damaged)
        drawn = sorted(run.folder.glob("samples/step_*.png"))
        drawn += run.folder.glob("evaluation/samples.png")
        done = "done" if status.step >= run.training_steps else ""
        yield {
            **run,
            "name": name,
            "settings": json.loads(run.config),
            "status": status,
            "state": "failed" if status.failed else status.stage or done,
            "time": tqdm.format_interval(status.seconds) if status.seconds else "",
            "metrics": own[own.scalar.isna()].set_index("metric").value.to_dict(),
            "samples": parse(drawn[-1], data_uri, "sample again", damaged) if drawn else None,
            "val_loss": log["val_loss"].iloc[-1] if "val_loss" in log else None,
            "losses": curve(log, log=True),
            "learned": curve({"lambda": own[own.metric == "lambda"].set_index("scalar").value}),
        }


def losses(run: Path, damaged: Damaged = None) -> dict[str, pd.Series]:
    """What a run logged of `loss` and `val_loss`, by step; `damaged` as of `parse`."""
    paths = sorted(run.glob("log/version_*/metrics.csv"), key=lambda path: natural(str(path)))
    logs = [parse(path, _log, "delete it", damaged) for path in paths if path.stat().st_size]
    logs = [log for log in logs if log is not None]
    if not logs:
        return {}
    # Later sessions overwrite the steps that they did again: the last number of a step counts.
    log = pd.concat(logs).groupby(level="step").last()
    return {name: log[name].dropna() for name in log if log[name].notna().any()}


def curve(lines: dict[str, pd.Series], log: bool = False) -> dict[str, Any] | None:
    """Lines as points of SVG polylines, with the ends of the axes; None if there are no points.

    Args:
        lines: by name, numbers by step.
        log: the logarithm of positive numbers.
    """
    lines = {name: line[line > 0] if log else line for name, line in lines.items()}
    lines = {name: thin(line) for name, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    numbers = pd.concat(lines.values())
    low, high = numbers.min(), numbers.max()
    height = math.log if log else float
    points = {
        name: " ".join(f"{step},{height(number):.5g}" for step, number in line.items())
        for name, line in lines.items()
    }
    ends = {"low": low, "high": high, "last": numbers.index.max()}
    return {"points": points, "bottom": height(low), "top": height(high), **ends}


def thin(points: Any) -> Any:
    """A series or frame of at most POINTS of its rows, evenly spread, both ends included."""
    rows = np.linspace(0, len(points) - 1, min(POINTS, len(points)))
    return points.iloc[rows.round().astype(int)]


@cache
def data_uri(path: Path) -> str:
    """An image as a small WebP inside a data: address; ValueError if it cannot be read."""
    file = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.thumbnail((SIDE, SIDE))
            image.convert("RGB").save(file, "WEBP", quality=85, method=2)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is no image: {error}") from None
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _log(path: Path) -> pd.DataFrame:
    log = pd.read_csv(path, index_col="step")
    return log[[name for name in ("loss", "val_loss") if name in log]].astype(float)
