"""Train what docs/GALLERY.md shows, and draw it.

    python scripts/gallery.py

writes docs/gallery.png: what each conditioning of the paper draws in both frameworks, from the same
noise and after the same steps, and the lambda that DPI learned. It takes up to three quarters of an
hour on one CPU core, and is resumed by the same command.
"""

from pathlib import Path

from matplotlib.figure import Figure, SubFigure

from dpi.data import to_uint8
from dpi.errors import Excluded
from dpi.experiment import train
from dpi.frameworks.draw import start_noise
from dpi.interpolation import InterpolationFunction
from dpi.runs.run import Run

SETTINGS = [
    *("experiment=comparison", "data=avatars", "scale=mini", "trainer=cpu", "training.lr=2e-3"),
    "trainer.gradient_clip_val=1",
]
FRAMEWORKS = {"diffusion": "diffusion", "flow": "flow matching"}
COLUMNS = {
    "NCSNv2": ("drunet", "ncsnv2"),
    "σ map": ("drunet", "sigmamap"),
    "t map": ("drunet", "tmap"),
    "MLP on ADM": ("adm", "mlp"),
    "DPI": ("drunet", "dpi"),
}
"""The network and the conditioning. DRUNet takes no embedding, which the MLP makes."""

SIDE = 3
"""Samples in a row and in a column of a cell."""


def trained(framework: str, arch: str, cond: str) -> Run | None:
    """A run, or None for a combination that the method excludes."""
    try:
        return train([f"framework={framework}", f"arch={arch}", f"cond={cond}", *SETTINGS])
    except Excluded:
        return None


def draw_samples(cell: SubFigure, run: Run) -> None:
    noise = start_noise(0, range(SIDE**2), (3, run.cfg.image_size, run.cfg.image_size))
    images = to_uint8(run.framework.sample(run.network, noise))
    for axes, image in zip(cell.subplots(SIDE, SIDE).flat, images, strict=True):
        axes.imshow(image)
        axes.axis("off")
    cell.subplots_adjust(0.02, 0.02, 0.98, 0.86, 0.03, 0.03)


def draw_lambda(cell: SubFigure, run: Run) -> None:
    table = next(m.table() for m in run.network.modules() if isinstance(m, InterpolationFunction))
    axes = cell.subplots()
    axes.plot([0, len(table) - 1], [0, 1], "--", color="0.75")
    axes.plot(table.detach(), color="C3")
    axes.set(xlabel="step", xlim=(0, len(table) - 1), ylim=(0, 1))
    cell.subplots_adjust(0.2, 0.24, 0.92, 0.86)


def draw(path: Path) -> None:
    """Write the gallery as a PNG."""
    figure = Figure(figsize=(12, 4.6))
    cells = figure.subfigures(len(FRAMEWORKS), len(COLUMNS) + 1, squeeze=False)
    for row, (framework, name) in zip(cells, FRAMEWORKS.items(), strict=True):
        for cell, (title, model) in zip(row, COLUMNS.items(), strict=False):
            run = trained(framework, *model)
            label = f"{title}, {name}" if run else f"{title} is not defined\nfor {name}"
            cell.suptitle(label, fontsize=9)
            if run:
                draw_samples(cell, run)
        draw_lambda(row[-1], run)
        row[-1].suptitle(f"λ of DPI, {name}", fontsize=9)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "docs/gallery.png")
