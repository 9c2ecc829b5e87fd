"""Draw the README's figures: badges, the method, and the error over the schedule.

    python scripts/readme_figures.py     writes docs/badges/*.svg, docs/method.svg, docs/results.svg

The badges say what pyproject.toml says. lambda and the errors are those of results/reproduction;
both figures follow the reader's light or dark colours.
"""

import io
import tomllib
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import torch
from matplotlib import style
from matplotlib.figure import Figure
from torch import Tensor

from dpi.data import Avatars
from dpi.frameworks import VPDiffusion

ROOT = Path(__file__).parents[1]
DRUNET = ROOT / "results/reproduction/results.csv"
ADM = ROOT / "results/reproduction/adm/results.csv"

PAPER = "2511.21028"

TILE = 16
"""Pixels of the images in the figure of the method."""

STEP = 170
"""The step that is shown there."""


def badges() -> dict[str, str]:
    """What the package needs, its licence and the paper, as SVG by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch_range,) = (of for of in project["dependencies"] if of.startswith("torch>"))
    template = jinja2.Template((Path(__file__).parent / "badge.svg.j2").read_text())
    shown = {
        "python": ("Python", _lowest(project["requires-python"]), "#0072b2"),
        "pytorch": ("PyTorch", _lowest(torch_range), "#d55e00"),
        "licence": ("licence", project["license"], "#009e73"),
        "paper": ("arXiv", PAPER, "#b31b1b"),
    }
    return {
        key: template.render(name=name, value=value, colour=colour)
        for key, (name, value, colour) in shown.items()
    }


def _lowest(versions: str) -> str:
    """E.g. "3.11+" of ">=3.11,<4"."""
    return versions.partition(">=")[2].partition(",")[0] + "+"


def learned_lambda() -> pd.Series:
    """lambda over the steps, on DRUNet in diffusion, the mean of all seeds."""
    rows = pd.read_csv(DRUNET, low_memory=False)
    own = (rows.metric == "lambda") & (rows.framework == "diffusion") & rows.variant.isna()
    return rows[own].groupby("scalar").value.mean()


def method() -> str:
    """The figure of the method, as SVG."""
    learned = learned_lambda()
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
    """The errors over the schedule relative to those of the t map, as SVG."""
    with style.context("dpi.reporting.figures"), style.context({"font.size": 10}):
        figure = Figure(figsize=(4.4, 3.3), layout="constrained")
        axes = figure.subplots()
        axes.axhline(1, color="0.6", linewidth=1)
        axes.annotate("t map", (0.98, 1), (0, 3), ("axes fraction", "data"),
                      textcoords="offset points", ha="right")  # fmt: skip
        for path, name, cond, color, line in (
            (DRUNET, "DPI, DRUNet", "dpi", "C4", "-"),
            (ADM, "DPI, ADM", "dpi", "C4", "--"),
            (ADM, "MLP, ADM", "mlp", "C2", "--"),
            (DRUNET, "NCSNv2, DRUNet", "ncsnv2", "C0", "-"),
        ):
            rows = pd.read_csv(path, low_memory=False)
            own = rows[(rows.metric == "mse") & rows.scalar.notna() & rows.variant.isna()]
            table = own.pivot_table("value", ["scalar", "seed"], "cond")
            ratio = (table[cond] / table.tmap).dropna().groupby("scalar").mean()
            axes.plot(ratio, line, color=color, label=name)
        axes.set(xlabel="step t", ylabel="error, relative to the t map", yscale="log")
        axes.set(xlim=(0, 999), ylim=(0.4, 2))
        axes.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
        axes.minorticks_off()
        axes.legend(loc="lower left")
        return svg(figure)


def svg(figure: Figure) -> str:
    """A figure in the style of `dpi.reporting.figures`, in the reader's light or dark colours."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text.replace("#010203", "currentColor").replace("<defs>", _CSS + "<defs>", 1)


_CSS = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>\n"


def main() -> None:
    (ROOT / "docs/badges").mkdir(exist_ok=True)
    for name, badge in badges().items():
        (ROOT / f"docs/badges/{name}.svg").write_text(badge)
    (ROOT / "docs/method.svg").write_text(method())
    (ROOT / "docs/results.svg").write_text(results())


if __name__ == "__main__":
    main()
