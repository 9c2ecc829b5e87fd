"""The figures: curves as SVG that takes the colour of the text around it."""

import io
import re
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dpi.reporting.labels import order

POINTS = 200
"""Of a curve, at most."""

WIDTH = 42
"""Letters in a line of a panel's title."""

INK = "#010203"
"""In figures.mplstyle, of what takes the colour of the text around."""


@style.context("dpi.reporting.figures")
def figures(runs: pd.DataFrame, results: pd.DataFrame, losses: pd.DataFrame) -> dict[str, str]:
    """The figures of which there is something to show, as SVG by name: lambda (Figure 3 of the
    paper), errors (Figure 4) and the losses while training.

    Args:
        runs, results, losses: as from `labelled`, `results` and `read_losses`.
    """
    curves = results[results.scalar.notna()].astype({"scalar": int})
    lambdas, errors = (curves[curves.metric == of] for of in ("lambda", "noise_scaled_mse"))
    losses = losses.join(runs[["block", "model"]], on="run")
    models = runs.model.drop_duplicates().sort_values(key=order)
    styles = dict(zip(models, rcParams["axes.prop_cycle"](), strict=False))
    made = {
        "lambda": _panels(lambdas, styles, "scalar s", "λ(s)", "linear"),
        "errors": _panels(errors, styles, "step t", "noise-scaled error", "log"),
        "losses": _panels(losses, styles, "training step", "val_loss", "log"),
    }
    return {name: figure for name, figure in made.items() if figure}


def _panels(curves: pd.DataFrame, styles: dict[str, Any], x: str, y: str, scale: str) -> str:
    """A panel for each block, in it the curve of each model."""
    blocks = list(curves.groupby("block", sort=False))
    if not blocks:
        return ""
    columns = min(2, len(blocks))
    rows = -(-len(blocks) // columns)
    titles = [fill(_literal(block), WIDTH) for block, _ in blocks]
    breaks = max(title.count("\n") for title in titles)
    size = 3.6 * columns, 0.7 + (2.3 + 0.15 * breaks) * rows
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    for axes, title, (_, own) in zip(grid, titles, blocks, strict=False):
        for model, of in own.groupby("model", sort=False):
            _draw(axes, of, styles[model])
        axes.set(title=title, xlabel=x, yscale=scale)
    for axes in grid[len(blocks) :]:
        axes.remove()
    figure.supylabel(y, fontsize=9)
    shown = [model for model in styles if model in set(curves.model)]
    if len(shown) > 1:
        lines, names = [Line2D([], [], **styles[model]) for model in shown], map(_literal, shown)
        figure.legend(lines, names, loc="outside lower center", ncols=2 * columns)
    return _svg(figure)


def _draw(axes: Axes, own: pd.DataFrame, style: dict[str, Any]) -> None:
    """The mean and the standard error over the seeds, at the scalars that all of them have."""
    curve = own.groupby("scalar").value.agg(["mean", "sem", "count"])
    curve = _thin(curve[curve["count"] == own.run.nunique()])
    axes.plot(curve.index, curve["mean"], linewidth=1.1, **style)
    low, high = curve["mean"] - curve["sem"], curve["mean"] + curve["sem"]
    axes.fill_between(curve.index, low, high, color=style["color"], alpha=0.2, linewidth=0)


def _thin(points: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS of the rows, evenly spread, both ends included."""
    rows = np.linspace(0, len(points) - 1, min(POINTS, len(points)))
    return points.iloc[rows.round().astype(int)]


def _literal(text: str) -> str:
    return text.replace("$", r"\$")  # not the start of a formula


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    # Names of groups would be those of other figures, too; nothing refers to them.
    text = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", text[text.index("<svg") :])
    return text.replace(INK, "currentColor")
