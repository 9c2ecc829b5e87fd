"""Which conditioning has the lowest error: each at its best settings, compared seed by seed.

    python scripts/conditioning.py 'results/conditioning/*.csv' [cost.png steps.png]

The files are results.csv of reports (report.py). Runs that differ in nothing but network size,
conditioning, learning rates, weight decay, dropout and seed are in one table. The settings are
chosen by the seeds that ran with most of them, and compared on the others, if there are any. The
difference from DPI has its 95 % interval over the seeds that both have; * marks what is significant
(5 %, Holm-corrected within a table). First come the networks with several frameworks in short, with
costs over the t map's. The figures show the mean error over what a conditioning costs, a line
through the sizes of each, and the error at each step over the t map's.
"""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from dpi.cli import one_line
from dpi.errors import UserError
from dpi.reporting.labels import label
from dpi.reporting.pairs import LEVEL, compare, holm
from dpi.reporting.results_csv import read_csv

TUNED = re.compile(r"(?:, )?\b((?:lr|lr_lambda|weight_decay_lambda|dropout) = [\d.e-]+)")
"""Settings that are chosen for each conditioning, as labels have them."""

FLOAT32 = re.compile(r"(?:, )?precision = 32-true")
"""Set for a GPU; a CPU's default, and compared with it."""

SIZE = re.compile(r"(?:, )?\b((?:channels|base_channels) = [\d, ]*\d)")
"""Of a network: names its row, also where all networks of a report have it."""

FINEST = re.compile(
    r"(?:cond\.dpi\.)?include = (?:(?:network\.)?"
    r"(?:head|encoder\.[012]|decoder\.[267]|tail|out)\.\*(?:, |$)){4,}"
)
"""The parameters of the finest level at scale=mini: their row has that name."""

DPI = "DPI"
"""The row with which the others are compared."""

SEEDS = 3
"""Fewer are not shown at each step, over the costs without other sizes, nor among the records."""

DIVERGED = 10
"""Of a larger error no difference is given; predicting nothing gives about 1."""

COST = {
    "parameters": ("parameters, M", 1e-6),
    "training_gflops": ("training GFLOPs", 1),
    "sampling_gflops": ("sampling GFLOPs", 1),
    "training_step_s": ("training step, ms", 1e3),
    "training_peak_mib": ("training memory, MiB", 1),
}
"""What a network costs: metric, title and unit. GFLOPs are those of an image."""

RELATIVE = {
    "parameters": "parameters",
    "training_step_s": "training step",
    "sampling_gflops": "sampling GFLOPs",
}
"""Costs that are compared with the t map's: metric and title."""

ACROSS = 3
"""Panels of the figure that are beside each other."""

QUALITY = {
    "fd_pixels": "Frechet distance, pixels",
    "fd_random": "random features",
    "coverage_pixels": "coverage, pixels",
    "coverage_random": "random features",
}
"""What eval=pixels finds of the samples: metric and title."""


def read(pattern: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The errors, the costs and the quality of the samples.

    Returns:
        errors: a row for each run and scalar, and one with the mean over the schedule, whose scalar
            is missing: block, and what it stands for (arch, framework, protocol, training_steps),
            row (the conditioning) and its options in full, tuned (the settings), seed, value.
        costs: those of COST, by arch and row.
        quality: those of QUALITY, a row for each run: block, row, tuned, seed.

    Raises:
        UserError: no such file, or one that is not of a report.
    """
    runs, rows = read_csv(pattern)
    rows = rows.merge(runs.reset_index(), on="run")
    tuned = rows.variant.map(lambda text: ", ".join(sorted(TUNED.findall(text))))
    bare = rows[["model", "protocol"]].map(lambda text: TUNED.sub("", text).strip(", "))
    sizes = bare.protocol.map(lambda text: ", ".join(["", *SIZE.findall(text)]))
    names = bare.model.str.extract(r"([^,]*)(.*)")
    protocol = bare.protocol.replace([FLOAT32, SIZE], "", regex=True).str.strip(", ")
    options = names[0] + sizes + names[1]
    row = options.str.replace(FINEST, "finest level, ", regex=True).str.strip(", ")
    rows = rows.assign(tuned=tuned, row=row, options=options, protocol=protocol)
    costs = rows[rows.metric.isin(COST)].pivot_table("value", ["arch", "row"], "metric", "median")
    block = (
        rows.arch.map(label)
        + rows.framework.map(", {}".format)
        + rows.protocol.map(lambda text: f"; {text}" if text else "")
        + rows.training_steps.map("; {:,} steps".format)
    )
    rows = rows.assign(block=block)
    errors = rows[rows.metric.isin(["mse", "objective"])]
    keep = ["block", "arch", "framework", "protocol", "training_steps"]
    keep += ["row", "options", "tuned", "seed", "scalar", "value"]
    own = rows[rows.metric.isin(QUALITY)]
    quality = own.pivot_table("value", ["block", "row", "tuned", "seed"], "metric").reset_index()
    return errors[keep], costs.reindex(columns=list(COST)), quality


def best_runs(own: pd.DataFrame) -> pd.DataFrame:
    """The runs of a block that `at_best` compares."""
    return pd.concat(at_best(of)[2] for _, of in own.groupby("row"))


def at_best(own: pd.DataFrame) -> tuple[str, int, pd.DataFrame]:
    """The best settings of a conditioning, how many were tried, and its runs with them."""
    tried = own.groupby("seed").tuned.nunique()
    tuning = own.seed.isin(tried.index[tried == tried.max()])
    best = own[tuning].groupby("tuned").value.mean().idxmin()
    runs = own[own.tuned == best]
    fresh = runs[~runs.seed.isin(own.seed[tuning])]
    return best, tried.max(), runs if fresh.empty else fresh


def table(own: pd.DataFrame) -> str:
    """A block as Markdown, the best conditioning first."""
    chosen = {name: at_best(of) for name, of in own.groupby("row")}
    best = pd.concat(runs for _, _, runs in chosen.values())
    means = best.groupby("row").value.mean().sort_values()
    changes = over_dpi(best)
    lines = [["conditioning", "error", "over DPI, %", "seeds", "settings", "of"]]
    lines += [["---", *["--:"] * 3, "---", "--:"]]
    for name, mean in means.items():
        settings, tried, runs = chosen[name]
        seeds = str(runs.seed.nunique())
        lines.append([name, _error(mean), changes.get(name, ""), seeds, settings, str(tried)])
    return f"### {own.block.iloc[0]}\n\n{markdown(lines)}\n"


def over_dpi(best: pd.DataFrame) -> dict[str, str]:
    """By how many percent each row of a block is over DPI, with its interval, as text."""
    best = best[best.groupby("row").value.transform("mean") < DIVERGED].assign(column="error")
    is_dpi = best.row == DPI
    found = compare(best[~is_dpi], best[is_dpi]).set_index("row")
    found["significant"] = holm(found.p) < LEVEL
    changes = {}
    for name, (percent, half, star) in found[["percent", "half", "significant"]].iterrows():
        half = "" if pd.isna(half) else f" ± {half:.1f}"
        changes[str(name)] = f"{percent:+.1f}{half}{' *' if star else ''}"
    return changes


def summary(own: pd.DataFrame, costs: pd.DataFrame) -> str:
    """The conditionings of a network in all frameworks, and what they cost, as Markdown.

    Rows with fewer than three seeds in every framework are left out.
    """
    best = {framework: best_runs(of) for framework, of in own.groupby("framework")}
    seeds = pd.concat(best.values()).groupby(["row", "framework"]).seed.nunique().unstack()
    shown = costs.index.intersection(seeds.index[seeds.max(axis=1) >= SEEDS])
    times = (costs / costs.loc["t map"]).loc[shown, list(RELATIVE)].dropna(axis=1, how="all")
    changes = {framework: over_dpi(runs) for framework, runs in best.items()}
    heads = [f"{framework}, over DPI, %" for framework in changes]
    lines = [["conditioning", *(RELATIVE[metric] for metric in times), *heads]]
    lines += [["---", *["--:"] * (times.shape[1] + len(changes))]]
    means = next(iter(best.values())).groupby("row").value.mean()
    for name in sorted(shown, key=lambda name: means.get(name, math.inf)):
        cells = [f"{ratio:.2f}" for ratio in times.loc[name]]
        lines.append([name, *cells, *(of.get(name, "") for of in changes.values())])
    return f"### {label(own.arch.iloc[0])}, in short\n\n{markdown(lines)}\n"


def cost_table(arch: str, own: pd.DataFrame) -> str:
    """What the conditionings of a network cost, as Markdown, the smaller before the larger."""
    own = own.dropna(axis="columns", how="all").sort_values("parameters")
    lines = [["conditioning", *(COST[metric][0] for metric in own)]]
    lines += [["---", *["--:"] * own.shape[1]]]
    for name, of in own.iterrows():
        numbers = [value * COST[metric][1] for metric, value in of.items()]
        cells = ["" if pd.isna(number) else f"{number:.3g}" for number in numbers]
        lines.append([str(name), *cells])
    return f"### {label(arch)}, costs\n\n{markdown(lines)}\n"


def samples(best: pd.DataFrame, quality: pd.DataFrame) -> str:
    """The quality of the samples of a block as Markdown, the best conditioning first."""
    of = quality.merge(best[["block", "row", "tuned", "seed"]])
    if of.empty:
        return ""
    lines = [["conditioning", "seeds", *QUALITY.values()], ["---", *["--:"] * (1 + len(QUALITY))]]
    means = of.groupby("row")[list(QUALITY)].mean()
    for name, found in means.sort_values("fd_random").iterrows():
        seeds = of[of.row == name].seed.nunique()
        lines.append([str(name), str(seeds), *(f"{value:.3g}" for value in found)])
    return markdown(lines) + "\n"


def markdown(lines: list[list[str]]) -> str:
    """A table of these cells, the first of them names; the second line is the alignment."""
    rows = [[line[0].replace("*", r"\*"), *line[1:]] for line in lines]  # of patterns: not italic
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _error(error: float) -> str:
    return f"{error:.5f}" if error < DIVERGED else f"{error:.0e}"


def curves(errors: pd.DataFrame, costs: pd.DataFrame, path: Path) -> None:
    """Draw the error over each cost, for each block with two conditionings of several sizes."""
    lines = {block: dict(_lines(own, costs)) for block, own in errors.groupby("block", sort=False)}
    lines = {
        block: own for block, own in lines.items() if sum(len(of) > 1 for of in own.values()) > 1
    }
    if not lines:
        raise UserError(f"{path}: no two conditionings have several sizes")
    names = list(dict.fromkeys(name for own in lines.values() for name in own))
    shown = [metric for metric in COST if costs[metric].notna().any()]
    with style.context("dpi.reporting.figures"), style.context({"axes.titlecolor": "black"}):
        rows = math.ceil(len(shown) / ACROSS)
        size = (3 * ACROSS, 2.6 * rows * len(lines))
        figure = Figure(figsize=size, layout="constrained")
        parts = figure.subfigures(len(lines), squeeze=False).flat
        for part, (block, own) in zip(parts, lines.items(), strict=True):
            part.suptitle(block)
            panels = part.subplots(rows, ACROSS, sharey=True, squeeze=False)
            for axes in panels.flat[len(shown) :]:
                axes.remove()
            for axes, metric in zip(panels.flat, shown, strict=False):
                title, unit = COST[metric]
                for name, of in own.items():
                    of = of.sort_values(metric)
                    color = f"C{names.index(name) % 10}"
                    axes.plot(of[metric] * unit, of.error, "o-", ms=3, color=color, label=name)
                axes.set(xscale="log", xlabel=title)
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
            for axes in panels[:, 0]:
                axes.set(ylabel="mean error")
        _save(figure, path)


def steps(errors: pd.DataFrame, path: Path) -> None:
    """Draw the error at each step over the t map's, seed by seed, each at its best settings."""
    ratios = {}
    for block, own in errors.groupby("block", sort=False):
        means = own[own.scalar.isna()]
        at_steps = own[own.scalar.notna()].merge(best_runs(means)[["row", "tuned", "seed"]])
        found = at_steps.pivot_table("value", ["scalar", "seed"], "row")
        theirs = found.pop("t map") if "t map" in found else pd.Series(np.nan, found.index)
        shown = {
            row: ratio.groupby("scalar").mean()
            for row, own in found.items()
            if (ratio := (own / theirs).dropna()).index.unique("seed").size >= SEEDS
        }
        ratios |= {block: shown} if shown else {}
    if not ratios:
        raise UserError(f"{path}: no conditioning has {SEEDS} seeds in common with the t map")
    names = list(dict.fromkeys(row for found in ratios.values() for row in found))
    with style.context("dpi.reporting.figures"), style.context({"axes.titlecolor": "black"}):
        figure = Figure(figsize=(4.5 * len(ratios), 3), layout="constrained")
        grid = figure.subplots(1, len(ratios), squeeze=False)
        for axes, (block, found) in zip(grid.flat, ratios.items(), strict=True):
            axes.axhline(1, color="0.6", linewidth=1)
            axes.set(xlabel="step t", ylabel="error, relative to the t map", title=block)
            for row, ratio in found.items():
                axes.plot(ratio, "o-", ms=3, color=f"C{names.index(row) % 10}", label=row)
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    lines = {label: line for label, line in lines.items() if not label.startswith("_")}
    width = 0.4 + 0.07 * max(map(len, lines))  # inches of an entry
    columns = max(1, int(figure.get_figwidth() / width))
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(lines) / columns))
    options = {"loc": "outside lower center", "ncols": columns, "fontsize": "small"}
    figure.legend(lines.values(), lines.keys(), **options)
    figure.savefig(path, dpi=150)


def _lines(own: pd.DataFrame, costs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The errors and costs of each conditioning, a row a size, without those that diverged and
    those of one size and a few seeds."""
    found = []
    for row, of in own.groupby("row"):
        key, runs = (own.arch.iloc[0], row), at_best(of)[2]
        if key in costs.index:
            error, seeds = runs.value.mean(), runs.seed.nunique()
            about = {"name": SIZE.sub("", row), "error": error, "seeds": seeds}
            found.append(about | dict(costs.loc[key]))
    lines = pd.DataFrame(found, columns=["name", "error", "seeds", *COST])
    for name, of in lines[lines.error < DIVERGED].groupby("name"):
        if len(of) > 1 or of.seeds.item() >= SEEDS:
            yield str(name), of


def main() -> None:
    if len(sys.argv) not in (2, 4):
        raise SystemExit(__doc__)
    with one_line():
        errors, costs, quality = read(sys.argv[1])
        means = errors[errors.scalar.isna()]
        for (arch, *_), own in means.groupby(["arch", "protocol", "training_steps"], sort=False):
            if (arch, "t map") in costs.index and own.framework.nunique() > 1:
                print(summary(own, costs.loc[arch]))
        for _, own in means.groupby("block", sort=False):
            print(table(own))
            print(samples(best_runs(own), quality))
        for arch, own in costs.groupby("arch"):
            print(cost_table(arch, own.droplevel("arch")))
        if len(sys.argv) == 4:
            curves(means, costs, Path(sys.argv[2]))
            steps(errors, Path(sys.argv[3]))


if __name__ == "__main__":
    main()
