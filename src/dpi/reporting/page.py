"""The page: what it shows of runs in folders, and its template."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from dpi.reporting.frame import Damaged, parse

SIDE = 400
"""Pixels of an image, at most."""


def page(**shown: Any) -> str:
    """page.html.j2, with all that it shows escaped."""
    loader = PackageLoader(__package__, "")
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, undefined=StrictUndefined, **options)
    return environment.get_template("page.html.j2").render(shown)


def explore(runs: pd.DataFrame, damaged: Damaged) -> Iterator[dict[str, Any]]:
    """What the page shows of each run: its name, its kind (block and model), settings, the text
    of its configuration, an image, and whether that is `evaluated`: from the noise that all have.

    Args:
        runs: as from `labelled`; of those without folders there is nothing to show.
        damaged: see `parse`.
    """
    for name, folder in dict(runs.get("folder", {})).items():
        run = runs.loc[name]
        evaluated = folder / "evaluation" / "samples.png"
        paths = [*sorted(folder.glob("samples/step_*.png")), *evaluated.parent.glob(evaluated.name)]
        image = parse(paths[-1], data_uri, "sample again", damaged) if paths else None
        yield {
            "name": name,
            "kind": (run.block, run.model),
            "settings": json.loads(run.config),
            "text": run.text,
            "image": image,
            "evaluated": bool(image) and paths[-1] == evaluated,
        }


def data_uri(path: Path) -> str:
    """A PNG as a small WebP inside a data: address."""
    file = io.BytesIO()
    with Image.open(path, formats=["PNG"]) as image:
        image.thumbnail((SIDE, SIDE))
        image.convert("RGB").save(file, "WEBP", quality=85, method=2)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
