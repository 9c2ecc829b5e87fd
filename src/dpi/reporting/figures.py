"""Figures 2 to 5, as SVG that takes the colour of the text around it."""

import io
import re
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dpi.reporting.explorer import data_uri, thin
from dpi.reporting.labels import order
from dpi.reporting.page import render

CAPTIONS = {
    "figure2": ("samples of DPI", "From the same noise for every network and framework."),
    "figure3": ("learned λ", "A line for each seed; dotted: λ(s) = s."),
    "figure4": (
        "error over the schedule",
        "The noise-scaled error of the predicted noise on held-out images, mean and standard error "
        "over seeds.",
    ),
    "figure5": ("samples of each conditioning", "From the same noise."),
}
"""Heading and caption of each figure."""

COLOURS = {
    "ncsnv2": "#009E73",
    "sigmamap": "#CC79A7",
    "tmap": "#0072B2",
    "mlp": "#E69F00",
    "dpi": "#D55E00",
}
"""Of conditionings, to be distinguished by colour-blind people (Okabe and Ito)."""

FURTHER = ("#56B4E9", "#999933", "#AA4499", "#44AA99", "#888888")
"""Of conditionings of one's own (Okabe and Ito, Tol)."""

DASHES = ("-", "--", "-.", (0, (1, 1)))
"""Of models with the same conditioning and other settings."""

INK = "#010203"
"""In figures.mplstyle, of what takes the colour of the text around."""

Style = dict[str, Any]


def figures(runs: pd.DataFrame, results: pd.DataFrame) -> dict[str, str]:
    """The figures of which there is something to show, as SVG by name.

    Args:
        runs, results: as from `frame`.
    """
    samples = runs.folder.map(lambda folder: folder / "evaluation" / "samples.png")
    drawn = runs.assign(image=samples)[samples.map(lambda path: path.exists())]
    first = drawn.sort_values("seed", kind="stable").drop_duplicates(["block", "model"]).index
    drawn = drawn[drawn.index.isin(first)]
    fid = results[results.metric == "fid"].set_index("run").value
    of_dpi = {
        run.block + (f" (FID {fid[run.Index]:.2f})" if run.Index in fid else ""): data_uri(
            run.image
        )
        for run in drawn[drawn.model == "DPI"].itertuples()
    }
    by_block = {
        block: {run.model: data_uri(run.image) for run in own.itertuples()}
        for block, own in drawn.groupby("block", sort=False)
    }
    styles = dict(_styles(runs))
    curves = results[results.scalar.notna()].astype({"scalar": int})
    lambdas, errors = (curves[curves.metric == of] for of in ("lambda", "noise_scaled_mse"))
    made = {
        "figure2": of_dpi and render("grid.svg.j2", groups={"": of_dpi}, columns=4),
        "figure3": _panels(lambdas, _lambda, styles, "scalar s", "λ(s)", "linear"),
        "figure4": _panels(errors, _error, styles, "step t", "noise-scaled error", "log"),
        "figure5": by_block and render("grid.svg.j2", groups=by_block, columns=5),
    }
    return {name: figure for name, figure in made.items() if figure}


def _styles(runs: pd.DataFrame) -> Iterator[tuple[str, Style]]:
    further = cycle(FURTHER)
    for cond, own in runs.groupby("cond"):
        colour = COLOURS.get(cond) or next(further)
        for model, dash in zip(own.model.sort_values(key=order).unique(), cycle(DASHES)):  # noqa: B905
            yield model, {"color": colour, "linestyle": dash}


def _panels(
    curves: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, Style], None],
    styles: dict[str, Style],
    xlabel: str,
    ylabel: str,
    yscale: str,
) -> str:
    """A panel for each block, in it what `draw` makes of each model's curves."""
    blocks = list(curves.groupby("block", sort=False))
    if not blocks:
        return ""
    columns = min(2, len(blocks))
    rows = -(-len(blocks) // columns)
    with as_file(files(__package__) / "figures.mplstyle") as path, style.context(path):
        figure = Figure(figsize=(3.6 * columns, 0.7 + 2.3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for i, (axes, (block, own)) in enumerate(zip(grid, blocks, strict=False)):
            for model, of in own.groupby("model", sort=False):
                draw(axes, of, styles[model])
            lowest = i + columns >= len(blocks)
            axes.set(title=_literal(block), xlabel=xlabel if lowest else "", yscale=yscale)
            axes.tick_params(labelbottom=lowest)
        for axes in grid[len(blocks) :]:
            axes.remove()
        figure.supylabel(ylabel, fontsize=9)
        models = curves.model.drop_duplicates().sort_values(key=order)
        if len(models) > 1:
            lines = [Line2D([], [], **styles[model]) for model in models]
            figure.legend(lines, map(_literal, models), loc="outside lower center", ncols=5)
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
