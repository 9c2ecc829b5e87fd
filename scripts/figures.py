"""Draw the figures of README and of docs/TRAINING.md from the committed rows.

    python scripts/figures.py [outputs/demo]

writes docs/method.svg, docs/results.svg and docs/what_to_expect.svg; and, from the folder of the
demo, docs/demo_steps.png, the samples at several steps. The .svg follow the reader's light or dark
colours.
"""

import io
import sys
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import torch
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image
from tables import REPRODUCTION, ROOT, logs, model
from torch import Tensor

from dpi.data import Avatars
from dpi.frameworks import VPDiffusion

TILE = 16
"""Pixels of the images in the figure of the method."""

STEP = 170
"""The step that is shown there."""

SHOWN = (250, 500, 1000, 2000)
"""The steps of the demo's picture."""

CSS = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>\n"


def read(file: str, metric: str) -> pd.DataFrame:
    """A metric at each scalar, of the runs that set nothing else."""
    rows = pd.read_csv(REPRODUCTION / file, low_memory=False)
    own = (rows.metric == metric) & rows.scalar.notna() & (rows.config == "{}")
    return rows[own & (rows.framework == "diffusion")]


def method() -> str:
    """The figure of the method, with lambda of DRUNet, the mean of all seeds."""
    learned = read("results.csv", "lambda").groupby("scalar").value.mean()
    x = torch.tensor(Avatars(3, TILE)[2])[None] / 127.5 - 1
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy, target = VPDiffusion().corrupt(x, noise, torch.tensor(STEP))
    template = jinja2.Template((Path(__file__).parent / "method.svg.j2").read_text())
    return template.render(
        curve=[(s / 999, value) for s, value in learned.items()],
        s=STEP / 999,
        weight=float(np.interp(STEP, learned.index, learned)),
        noisy=_hex(noisy[0]),
        target=_hex(target[0]),
    )


def _hex(image: Tensor) -> list[list[str]]:
    """An image (3, H, W) in [-1, 1] as rows of colours."""
    pixels = ((image + 1) * 127.5).clamp(0, 255).int().permute(1, 2, 0).tolist()
    return [["#{:02x}{:02x}{:02x}".format(*pixel) for pixel in row] for row in pixels]


def results() -> str:
    """The errors over the schedule relative to those of the t map."""
    figure = Figure(figsize=(4.4, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color="0.6", linewidth=1)
    axes.annotate("t map", (0.98, 1), (0, 3), ("axes fraction", "data"),
                  textcoords="offset points", ha="right")  # fmt: skip
    for file, name, cond, color, line in (
        ("results.csv", "DPI, DRUNet", "dpi", "C4", "-"),
        ("adm/results.csv", "DPI, ADM", "dpi", "C4", "--"),
        ("adm/results.csv", "MLP, ADM", "mlp", "C2", "--"),
        ("results.csv", "NCSNv2, DRUNet", "ncsnv2", "C0", "-"),
    ):
        table = read(file, "mse").pivot_table("value", ["scalar", "seed"], "cond")
        ratio = (table[cond] / table.tmap).dropna().groupby("scalar").mean()
        axes.plot(ratio, line, color=color, label=name)
    axes.set(xlabel="step t", ylabel="error, relative to the t map", yscale="log")
    axes.set(xlim=(0, 999), ylim=(0.4, 2))
    axes.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    axes.minorticks_off()
    axes.legend(loc="lower left")
    return svg(figure)


def what_to_expect() -> str:
    """The losses of whole trainings over the steps, a panel for each kind of images."""
    runs, found = logs()
    kinds = runs[runs.scale == "mini"].groupby("images")
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    grid = figure.subplots(1, kinds.ngroups, sharey=True)
    for axes, (kind, own) in zip(grid, kinds, strict=True):
        for number, run in enumerate(own.itertuples()):
            log, color = found[run.Index], f"C{number}"
            axes.plot(log.loss.dropna(), color=color, alpha=0.5, linewidth=0.7)
            axes.plot(log.val_loss.dropna(), "o-", ms=3, color=color, label=model(run))
        axes.set(title=kind, xlabel="step", yscale="log", xlim=0, ylim=(0.03, 1))
        axes.legend(loc="upper right")
    ticks = [0.03, 0.05, 0.1, 0.2, 0.5, 1]
    grid[0].set(ylabel="loss (thin), val_loss (dots)")
    grid[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    return svg(figure)


def svg(figure: Figure) -> str:
    """A figure in the style of `dpi.reporting.figures`, in the reader's light or dark colours."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text.replace("#010203", "currentColor").replace("<defs>", CSS + "<defs>", 1)


def samples(demo: Path) -> Image.Image:
    """The demo's grids of samples at SHOWN, side by side, three rows of each."""
    grids = [np.asarray(Image.open(demo / f"samples/step_{n:07d}.png")) for n in SHOWN]
    gap = np.full((grids[0].shape[0], 12, 3), 255, np.uint8)
    parts = [part for grid in grids for part in (grid[..., :3], gap)]
    return Image.fromarray(np.concatenate(parts[:-1], axis=1))


def drawn() -> dict[str, str]:
    """The .svg by name."""
    with style.context(["dpi.reporting.figures", {"font.size": 10}]):
        return {of.__name__: of() for of in (method, results, what_to_expect)}


def main() -> None:
    for name, figure in drawn().items():
        (ROOT / f"docs/{name}.svg").write_text(figure)
    if len(sys.argv) > 1:
        samples(Path(sys.argv[1])).save(ROOT / "docs/demo_steps.png", optimize=True)


if __name__ == "__main__":
    main()
