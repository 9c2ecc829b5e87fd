"""Plots as PNG files: sample grids, the learned lambda, loss curves."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange
from PIL import Image

from dpi.atomic import atomic

if TYPE_CHECKING:  # Matplotlib takes a second, and samples need none of it
    from matplotlib.figure import Figure

SHOWN = 64
"""Smaller images are enlarged to about this many pixels."""


def save_grid(images: np.ndarray, path: Path) -> None:
    """Write (B, H, W, C) uint8 images as a grid, as square as possible; C is 1 to 4, as of L, LA,
    RGB and RGBA."""
    columns = int(np.ceil(np.sqrt(len(images))))
    empty = np.full((-len(images) % columns, *images.shape[1:]), 255, np.uint8)
    zoom = max(1, SHOWN // images.shape[1])
    cells = np.concatenate([images, empty]).repeat(zoom, axis=1).repeat(zoom, axis=2)
    cells = np.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    grid = rearrange(cells, "(r c) h w channel -> (r h) (c w) channel", c=columns)
    save_image(grid, path)


def save_image(pixels: np.ndarray, path: Path) -> None:
    """Write one image, (H, W, C) uint8, as a PNG; C is as of `save_grid`."""
    with atomic(path) as file:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")


def plot_lambda(table: np.ndarray, path: Path) -> None:
    """Draw lambda over the steps (Figure 3), and the straight line that it started from.

    Args:
        table: lambda, (S,), or the weights of K sets, (K, S), which are drawn alone.
        path: of the PNG.
    """
    last = table.shape[-1] - 1
    figure = _figure(4)
    axes = figure.subplots()
    if table.ndim == 1:
        axes.plot([0, last], [0, 1], color="0.75", linestyle="--", label="linear")
        axes.plot(table, color="C3", label=r"$\lambda_\phi(s)$")
        axes.set(ylabel=r"$\lambda$", ylim=(0, 1))
        axes.legend(frameon=False, loc="upper left")
    else:
        axes.plot(table.T)
        axes.set(ylabel="weights")
    axes.set(xlabel="step of the schedule", xlim=(0, last))
    _save(figure, path)


def plot_losses(logs: list[Path], path: Path) -> None:
    """Draw the training and the validation loss from a run's metrics.csv files, if it has any."""
    import pandas as pd  # takes a second, and samples need none of it

    sessions = [pd.read_csv(log) for log in logs if log.stat().st_size]
    if not sessions:
        return
    curves = pd.concat(sessions).groupby("step").last()  # a resumed one overwrites what it repeats
    figure = _figure(5)
    axes = figure.subplots()
    for column, label, style in (
        ("loss", "loss", {"color": "0.7"}),
        ("val_loss", "val_loss, averaged weights", {"color": "C3", "marker": "."}),
    ):
        if column in curves:
            axes.plot(curves[column].dropna(), label=label, **style)
    axes.set(xlabel="optimizer step", ylabel="mean squared error", yscale="log")
    axes.legend(frameon=False)
    _save(figure, path)


def plot_over_scalars(panels: dict[str, dict[int, float]], path: Path) -> None:
    """Draw errors over the scalar, one panel for each metric (Figure 4 for one run); dots are the
    steps that there are.

    Args:
        panels: metric -> {step: value}.
        path: of the PNG.
    """
    figure = _figure(4 * len(panels))
    for axes, (metric, points) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        curve = zip(*sorted(points.items()), strict=True)
        axes.plot(*curve, color="C3", linewidth=1, marker=".", markersize=5)
        axes.set(xlabel="step of the schedule", title=metric, yscale="log")
    _save(figure, path)


def _figure(width: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, 3.2), layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=150)
