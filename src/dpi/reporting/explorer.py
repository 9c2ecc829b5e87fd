"""What the page shows of runs in folders: samples, losses, settings."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from dpi.reporting.frame import Damaged, parse
from dpi.reporting.labels import natural

SIDE = 400
"""Pixels of an image, at most."""


def explore(runs: pd.DataFrame, damaged: Damaged) -> Iterator[dict[str, Any]]:
    """What page.html.j2 shows of each run: its name and title, settings, the text of its
    configuration, an image, and whether that is `evaluated`: from the noise that all runs have.

    Args:
        runs: as from `labelled`; of those without folders there is nothing to show.
        damaged: see `parse`.
    """
    for name, folder in dict(runs.get("folder", {})).items():
        run = runs.loc[name]
        evaluated = [path for path in [folder / "evaluation" / "samples.png"] if path.exists()]
        paths = [*sorted(folder.glob("samples/step_*.png")), *evaluated]
        image = parse(paths[-1], data_uri, "sample again", damaged) if paths else None
        yield {
            "name": name,
            "title": f"{run.block}: {run.model}",
            "settings": json.loads(run.config),
            "text": run.text,
            "image": image,
            "evaluated": bool(evaluated and image),
        }


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


def read_losses(runs: pd.DataFrame, damaged: Damaged) -> pd.DataFrame:
    """The `val_loss` that runs in folders logged: run, scalar (the step) and value.

    Args:
        runs: as from `read_runs`.
        damaged: see `parse`.
    """
    rows = []
    for name, folder in dict(runs.get("folder", {})).items():
        log: dict[int, float] = {}
        paths = folder.glob("log/version_*/metrics.csv")
        for path in sorted(paths, key=lambda path: natural(str(path))):
            # Later sessions overwrite the steps that they did again.
            log |= parse(path, _log, "delete it", damaged) or {}
        rows += [(name, step, log[step]) for step in sorted(log)]
    return pd.DataFrame(rows, columns=["run", "scalar", "value"])


def _log(path: Path) -> dict[int, float]:
    """Empty of a session that has only just started."""
    if not path.stat().st_size:
        return {}
    log = pd.read_csv(path, index_col="step").reindex(columns=["val_loss"])
    return log.val_loss.dropna().astype(float).to_dict()
