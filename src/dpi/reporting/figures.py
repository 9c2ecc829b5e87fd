"""Figures 2 to 5, from the runs that have what they show."""

from statistics import fmean

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from dpi.errors import UserError
from dpi.reporting.collect import Run
from dpi.reporting.statistics import standard_error
from dpi.reporting.words import CONDITIONINGS, FRAMEWORKS, NETWORKS, conditioning, in_order, network

COLOURS = {
    "ncsnv2": "#009E73",
    "sigmamap": "#CC79A7",
    "tmap": "#0072B2",
    "mlp": "#E69F00",
    "dpi": "#D55E00",
}
"""One a conditioning, everywhere; told apart by colour-blind people (Okabe and Ito)."""

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}

WIDTH = 5.0
"""Inches of every figure: narrow, so that its words can be read on a phone."""

PANELS = [(arch, framework) for arch in NETWORKS for framework in FRAMEWORKS]


def figures(runs: list[Run]) -> dict[str, Figure]:
    """The figures, "figure2" ... "figure5", of which there is something to show.

    Args:
        runs: of one data set at one scale; variants are not shown.
    """
    plain = [run for run in runs if not run.variant]
    with matplotlib.rc_context(STYLE):
        made = {
            "figure2": samples_of_dpi(plain),
            "figure3": interpolation_functions(plain),
            "figure4": errors_over_noise(plain),
            "figure5": samples_by_conditioning(plain),
        }
    return {name: figure for name, figure in made.items() if figure is not None}


def samples_of_dpi(runs: list[Run]) -> Figure | None:
    """Figure 2: what DPI draws, for each network and framework."""
    shown = {}
    for arch, framework in PANELS:
        run = _first_with_samples(runs, (framework, arch, "dpi"))
        if run:
            fid = run.rows.get(("fid", None))
            score = f" (FID {fid['value']:.2f})" if fid else ""
            shown[f"{network(arch)}, {framework}{score}"] = run
    return _grids(shown)


def samples_by_conditioning(runs: list[Run]) -> Figure | None:
    """Figure 5: what ADM draws from the same noise, told in each way; else DRUNet."""
    shown = {}
    for cond in in_order({run.kind[2] for run in runs}, CONDITIONINGS):
        found = [_first_with_samples(runs, ("diffusion", arch, cond)) for arch in ("adm", "drunet")]
        run = next(filter(None, found), None)
        if run:
            shown[f"{network(run.kind[1])}, {conditioning(cond)}"] = run
    return _grids(shown)


def interpolation_functions(runs: list[Run]) -> Figure | None:
    """Figure 3: lambda as it was learned, a line a seed, and lambda(s) = s dashed."""

    def draw(axes: Axes, arch: str, framework: str) -> bool:
        curves = [run.curve("lambda") for run in runs if run.kind == (framework, arch, "dpi")]
        curves = [curve for curve in curves if curve]
        for curve in curves:
            last = max(curve)
            axes.plot([0, last], [0, 1], color="0.6", linewidth=0.8, linestyle="--")
            axes.plot(*zip(*curve.items(), strict=True), color=COLOURS["dpi"], linewidth=0.9)
            axes.set(xlim=(0, last), ylim=(0, 1))
        axes.set_title(f"{network(arch)}, {framework}")
        return bool(curves)

    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    drawn = [draw(axes, *panel) for axes, panel in zip(grid.flat, PANELS, strict=True)]
    for axes, there in zip(grid.flat, drawn, strict=True):
        _say_if_empty(axes, there)
    figure.supxlabel("scalar $s$", fontsize=9)
    figure.supylabel(r"$\lambda(s)$", fontsize=9)
    return figure if any(drawn) else None


def errors_over_noise(runs: list[Run]) -> Figure | None:
    """Figure 4: the noise-scaled error over the step, mean and standard error over seeds."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    legend: dict[str, Line2D] = {}
    for axes, arch in zip(panels, NETWORKS, strict=True):
        drawn = {}
        for cond in in_order({run.kind[2] for run in runs}, CONDITIONINGS):
            own = [run for run in runs if run.kind == ("diffusion", arch, cond)]
            curves = {run.seed: c for run in own if (c := run.curve("noise_scaled_mse"))}
            if curves:
                drawn[conditioning(cond)] = _band(axes, curves, COLOURS.get(cond, "0.4"))
        _say_if_empty(axes, bool(drawn))
        axes.set(title=network(arch), xlabel="step $t$", yscale="log")
        legend |= drawn
    panels[0].set_ylabel("noise-scaled error")
    names = in_order(legend, CONDITIONINGS.values())
    lines = [legend[name] for name in names]
    figure.legend(lines, names, loc="outside lower center", ncols=len(names), columnspacing=1.2)
    return figure if legend else None


def _band(axes: Axes, curves: dict[int, dict[int, float]], colour: str) -> Line2D:
    """The mean over seeds of the steps that all have; around it one standard error."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    at = [{seed: curve[t] for seed, curve in curves.items()} for t in steps]
    means = [fmean(values.values()) for values in at]
    (line,) = axes.plot(steps, means, color=colour, linewidth=1.1)
    if len(curves) > 1:
        errors = [standard_error(values) for values in at]
        low = [mean - error for mean, error in zip(means, errors, strict=True)]
        high = [mean + error for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    return line


def _first_with_samples(runs: list[Run], kind: tuple[str, str, str]) -> Run | None:
    own = [run for run in runs if run.kind == kind and run.samples.exists()]
    return min(own, key=lambda run: run.seed, default=None)


def _grids(shown: dict[str, Run]) -> Figure | None:
    if not shown:
        return None
    rows = -(-len(shown) // 2)
    figure = Figure(figsize=(WIDTH, rows * (WIDTH / 2 + 0.2)), layout="constrained")
    panels = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, (title, run) in zip(panels, shown.items(), strict=False):
        axes.imshow(_picture(run))
        axes.set_title(title)
    return figure


def _picture(run: Run) -> np.ndarray:
    try:
        return imread(run.samples)
    except (OSError, SyntaxError):
        raise UserError(f"{run.samples} cannot be read: delete it and draw it again") from None


def _say_if_empty(axes: Axes, there: bool) -> None:
    if not there:
        axes.text(0.5, 0.5, "no run yet", color="0.6", ha="center", transform=axes.transAxes)
