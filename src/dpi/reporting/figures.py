"""Figures 2 to 5, as SVG that takes the colour of the text around it."""

import io
import re
from collections.abc import Callable, Iterator
from itertools import count, cycle
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dpi.reporting.explorer import data_uri, thin
from dpi.reporting.frame import Damaged, parse
from dpi.reporting.labels import order
from dpi.reporting.page import render

CONDITIONINGS = ("ncsnv2", "sigmamap", "tmap", "mlp", "dpi")
"""In the order of the colours in figures.mplstyle; the further ones are of others."""

DASHES = ("-", "--", "-.", (0, (1, 1)))
"""Of models with the same conditioning and other settings."""

WIDTH = 42
"""Letters in a line of a panel's title."""

INK = "#010203"
"""In figures.mplstyle, of what takes the colour of the text around."""

Style = dict[str, Any]
Styles = dict[str, Style]
Draw = Callable[[Axes, pd.DataFrame, Style], None]


def figures(runs: pd.DataFrame, results: pd.DataFrame, damaged: Damaged = None) -> dict[str, str]:
    """The figures of which there is something to show, as SVG by name.

    Args:
        runs, results: as from `frame`.
        damaged: see `parse`.
    """
    curves = results[results.scalar.notna()].astype({"scalar": int})
    lambdas, errors = (curves[curves.metric == of] for of in ("lambda", "noise_scaled_mse"))
    styles = dict(_styles(runs))
    fid = results[results.metric == "fid"].set_index("run").value
    scores = [f" (FID {fid[run]:.2f})" if run in fid else "" for run in runs.index]
    of_dpi = runs.assign(heading="", title=runs.block + scores)
    made = {
        "figure2": _samples(of_dpi[runs.model == "DPI"], damaged),
        "figure3": _panels(lambdas, _lambda, styles, "scalar s", "λ(s)", "linear"),
        "figure4": _panels(errors, _error, styles, "step t", "noise-scaled error", "log"),
        "figure5": _samples(runs.assign(heading=runs.block, title=runs.model), damaged),
    }
    return {name: figure for name, figure in made.items() if figure}


def _samples(runs: pd.DataFrame, damaged: Damaged) -> str:
    """For each heading a row of samples: for each block and model those of the lowest seed."""
    if "folder" not in runs:
        return ""
    paths = [folder / "evaluation" / "samples.png" for folder in runs.folder]
    images = [
        parse(path, data_uri, "evaluate the run again", damaged) if path.exists() else None
        for path in paths
    ]
    runs = runs.assign(image=images).dropna(subset="image")
    first = runs.sort_values("seed").drop_duplicates(["block", "model"]).index
    headings = runs[runs.index.isin(first)].groupby("heading", sort=False)
    groups = {name: own.set_index("title").image.to_dict() for name, own in headings}
    return render("grid.svg.j2", groups=groups) if groups else ""


def _styles(runs: pd.DataFrame) -> Iterator[tuple[str, Style]]:
    others = count(len(CONDITIONINGS))
    for cond, own in runs.groupby("cond"):
        colour = CONDITIONINGS.index(cond) if cond in CONDITIONINGS else next(others)
        models = own.model.sort_values(key=order).unique()
        for model, dash in zip(models, cycle(DASHES), strict=False):
            yield model, {"color": f"C{colour}", "linestyle": dash}


def _panels(curves: pd.DataFrame, draw: Draw, styles: Styles, x: str, y: str, scale: str) -> str:
    """A panel for each block, in it what `draw` makes of each model's curves."""
    blocks = list(curves.groupby("block", sort=False))
    if not blocks:
        return ""
    columns = min(2, len(blocks))
    rows = -(-len(blocks) // columns)
    titles = [fill(block, WIDTH) for block, _ in blocks]
    breaks = max(title.count("\n") for title in titles)
    with style.context("dpi.reporting.figures"):
        size = 3.6 * columns, 0.7 + (2.3 + 0.15 * breaks) * rows
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for i, (axes, (_, own)) in enumerate(zip(grid, blocks, strict=False)):
            for model, of in own.groupby("model", sort=False):
                draw(axes, of, styles[model])
            lowest = i + columns >= len(blocks)
            axes.set(title=_literal(titles[i]), xlabel=x if lowest else "", yscale=scale)
            axes.tick_params(labelbottom=lowest)
        for axes in grid[len(blocks) :]:
            axes.remove()
        figure.supylabel(y, fontsize=9)
        models = curves.model.drop_duplicates().sort_values(key=order)
        if len(models) > 1:
            lines = [Line2D([], [], **styles[model]) for model in models]
            figure.legend(
                lines, map(_literal, models), loc="outside lower center", ncols=2 * columns
            )
        return _svg(figure)


def _lambda(axes: Axes, own: pd.DataFrame, style: Style) -> None:
    for _, run in own.groupby("run", sort=False):
        curve = thin(run.set_index("scalar").value.sort_index())
        axes.plot(curve.index, curve, linewidth=0.9, **style)
    axes.plot([0, own.scalar.max()], [0, 1], color=INK, linewidth=0.6, linestyle=":")


def _error(axes: Axes, own: pd.DataFrame, style: Style) -> None:
    """Of the steps that all seeds have."""
    curve = own.groupby("scalar").value.agg(["mean", "sem", "count"])
    curve = thin(curve[curve["count"] == own.run.nunique()])
    axes.plot(curve.index, curve["mean"], linewidth=1.1, **style)
    low, high = curve["mean"] - curve["sem"], curve["mean"] + curve["sem"]
    axes.fill_between(curve.index, low, high, color=style["color"], alpha=0.2, linewidth=0)


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
