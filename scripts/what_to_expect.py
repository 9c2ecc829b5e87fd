"""Draw how trainings should go, and print them as the tables of docs/TRAINING.md.

    python scripts/what_to_expect.py [outputs/demo]

docs/what_to_expect.svg and the tables are made from the runs in results/what_to_expect, and of the
demo's folder, if it is given, docs/demo_steps.png shows the samples at several steps.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from conditioning import markdown
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image
from readme_figures import svg

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "results/what_to_expect"

STEPS = (500, 1000, 2000, 3000)
"""Of the table of whole trainings, all at scale=mini."""

FIRST_STEPS = (50, 100, 200, 500, 1000)
"""Of the table of the first steps at larger scales."""

SHOWN = (250, 500, 1000, 2000)
"""The picture's, of the demo."""


def read() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The runs, one a row, and of each its log by the number of steps taken."""
    runs = pd.read_csv(RUNS / "runs.csv", index_col="run")
    logs = {}
    for run in runs.index:
        log = pd.read_csv(RUNS / f"{run}.csv")
        logs[run] = log.assign(step=log.step + 1).set_index("step")
    return runs, logs


def table(runs: pd.DataFrame, logs: dict[str, pd.DataFrame]) -> str:
    """The held-out losses of whole trainings at some steps, as Markdown."""
    head = ["images", "model", "`train.py ...`", *(f"{n:,}" for n in STEPS), "minutes"]
    lines = [head, ["---"] * 3 + ["--:"] * 5]
    for run, about in runs[runs.scale == "mini"].iterrows():
        losses = logs[run].val_loss.dropna()
        cells = [f"{losses[n]:.4f}" if n in losses else "" for n in STEPS]
        named = [about.images, _model(about), f"`{about.options}`"]
        lines.append([*named, *cells, f"{about.minutes:.0f}"])
    return markdown(lines)


def first_steps(runs: pd.DataFrame, logs: dict[str, pd.DataFrame]) -> str:
    """The losses of the first steps at larger scales, as Markdown."""
    lines = [["`train.py ...`", *(f"{n:,}" for n in FIRST_STEPS)], ["---", *["--:"] * 5]]
    for run, about in runs[runs.scale != "mini"].iterrows():
        losses = logs[run].loss.dropna()
        cells = [f"{losses[n]:.3f}" if n in losses else "" for n in FIRST_STEPS]
        lines.append([f"`{about.options}`", *cells])
    return markdown(lines)


def _model(about: pd.Series) -> str:
    return ", ".join(about[["network", "conditioning", "framework"]])


def figure(runs: pd.DataFrame, logs: dict[str, pd.DataFrame]) -> str:
    """The losses of whole trainings over the steps, a panel for each kind of images, as SVG."""
    with style.context("dpi.reporting.figures"), style.context({"font.size": 10}):
        page = Figure(figsize=(8, 3.4), layout="constrained")
        runs = runs[runs.scale == "mini"]
        kinds = runs.images.unique()
        grid = page.subplots(1, len(kinds), sharey=True)
        for axes, kind in zip(grid, kinds, strict=True):
            for number, (run, about) in enumerate(runs[runs.images == kind].iterrows()):
                log = logs[run]
                axes.plot(log.loss.dropna(), color=f"C{number}", alpha=0.5, linewidth=0.7)
                axes.plot(
                    log.val_loss.dropna(), "o-", ms=3, color=f"C{number}", label=_model(about)
                )
            axes.set(title=kind, xlabel="step", yscale="log", xlim=0, ylim=(0.03, 1))
            axes.legend(loc="upper right")
        ticks = [0.03, 0.05, 0.1, 0.2, 0.5, 1]
        grid[0].set(ylabel="loss (thin), val_loss (dots)")
        grid[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        return svg(page)


def samples(demo: Path) -> Image.Image:
    """The demo's grids of samples at SHOWN, side by side, three rows of each."""
    grids = [np.asarray(Image.open(demo / f"samples/step_{n:07d}.png")) for n in SHOWN]
    gap = np.full((grids[0].shape[0], 12, 3), 255, np.uint8)
    parts = [part for grid in grids for part in (grid[..., :3], gap)]
    return Image.fromarray(np.concatenate(parts[:-1], axis=1))


def main() -> None:
    if len(sys.argv) > 2:
        raise SystemExit(__doc__)
    runs, logs = read()
    (ROOT / "docs/what_to_expect.svg").write_text(figure(runs, logs))
    print(table(runs, logs), first_steps(runs, logs), sep="\n\n")
    if len(sys.argv) == 2:
        samples(Path(sys.argv[1])).save(ROOT / "docs/demo_steps.png", optimize=True)


if __name__ == "__main__":
    main()
