"""Which conditioning has the lowest error: each at its best settings, compared seed by seed.

    python scripts/conditioning.py 'results/conditioning/*.csv' [cost.png steps.png]

The files are results.csv of reports (report.py). Runs that differ in nothing but network size,
conditioning, learning rates, weight decay of lambda, dropout and seed are in one table. The seeds
that ran with most of these settings choose one for each conditioning, and the other seeds, if there
are any, compare them. The difference from DPI has its 95 % interval over the seeds that both have;
* marks what is significant (5 %, Holm-corrected within a table). The figures show the mean error
over what a conditioning costs, and the error at each step over the t map's.
"""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from dpi.cli import one_line
from dpi.errors import UserError
from dpi.reporting.labels import label, setting
from dpi.reporting.pairs import LEVEL, compare, holm
from dpi.reporting.results_csv import read_csv

IMAGES = ["data", "scale", "images", "split"]
"""What runs that are compared have in common."""

TUNED = ("training.lr", "training.lr_lambda", "training.weight_decay_lambda", "arch.dropout")
"""Settings that are chosen for each conditioning."""

SIZE = ("arch.channels", "arch.base_channels")
"""Settings of a network's size, which is part of a row's name."""

FINEST = {
    "drunet": ["head.*", "encoder.0.*", "decoder.2.*", "tail.*"],
    "adm": ["encoder.0.*", "encoder.1.*", "encoder.2.*", "decoder.6.*", "decoder.7.*", "out.*"],
}
"""The parameters of the finest level at scale=mini and small."""

SEEDS = 3
"""Conditionings with fewer seeds are not in the short table and the figures."""

DIVERGED = 10
"""No difference is given of a larger error; predicting nothing gives about 1."""

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

QUALITY = {
    "fd_pixels": "Frechet distance, pixels",
    "fd_random": "random features",
    "coverage_pixels": "coverage, pixels",
    "coverage_random": "coverage, random features",
}
"""Measures of the samples: metric and title."""


def read(pattern: str) -> pd.DataFrame:
    """All rows, with the names of their run.

    Returns:
        Beside what a results.csv has: `row`, the conditioning and its settings; `tuned`, those
        that are chosen for it; `protocol`, all others; `block`, network, framework and protocol.

    Raises:
        UserError: no such file, or one that is not of a report.
    """
    runs, rows = read_csv(pattern)
    named = pd.DataFrame([_names(run) for run in runs.itertuples()], index=runs.index)
    return rows.merge(runs[["arch", "framework", "seed", *IMAGES]].join(named), on="run")


def _names(run: Any) -> dict[str, str]:
    config = json.loads(run.config)
    if config.get("trainer.precision") == "32-true":  # set for a GPU, the default of a CPU
        del config["trainer.precision"]
    said = {key: _setting(run.arch, key, value) for key, value in config.items()}
    tuned = [key for key in said if key in TUNED]
    size = [key for key in said if key in SIZE]
    own = [key for key in said if key.startswith(("arch.", "cond.")) and key not in tuned + size]
    protocol = ", ".join(said[key] for key in said if key not in tuned + size + own)
    protocol = "; ".join(filter(None, [protocol, f"{run.training_steps:,} steps"]))
    return {
        "row": label(run.cond, *(said[key] for key in size + own)),
        "conditioning": label(run.cond, *(said[key] for key in own)),
        "tuned": ", ".join(sorted(said[key] for key in tuned)),
        "protocol": protocol,
        "block": f"{label(run.arch)}, {run.framework}; {protocol}",
    }


def _setting(arch: str, key: str, value: Any) -> str:
    if key in ("cond.include", "cond.dpi.include"):
        patterns = [pattern.removeprefix("network.") for pattern in value]
        if patterns == FINEST.get(arch):
            return "finest level"
    return setting(key if key.count(".") > 1 else key.rpartition(".")[2], value)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean errors of the runs that are compared, a row a run.

    Returns:
        Columns of `read`, and `of`: how many settings were tried.

    Raises:
        UserError: runs of a block are of different images.
    """
    means = rows[rows.metric.isin(["mse", "objective"]) & rows.scalar.isna()]
    for block, own in means.groupby("block", sort=False):
        if len(own[IMAGES].drop_duplicates()) > 1:
            raise UserError(
                f"{block}: its runs are of different images: give those of one data set"
            )
    own = means.groupby(["block", "row"], sort=False)
    return pd.concat(_at_best(of) for _, of in own)


def _at_best(own: pd.DataFrame) -> pd.DataFrame:
    tried = own.groupby("seed").tuned.nunique()
    choosing = own.seed.isin(tried.index[tried == tried.max()])
    chosen = own[choosing].groupby("tuned").value.mean().idxmin()
    runs = own[own.tuned == chosen]
    fresh = runs[~runs.seed.isin(own.seed[choosing])]
    return (runs if fresh.empty else fresh).assign(of=tried.max())


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """What COST names, by arch and row."""
    own = rows[rows.metric.isin(COST)]
    found = own.pivot_table("value", ["arch", "row"], "metric", "median")
    return found.reindex(columns=list(COST))


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """The conditionings of a block, the best one first.

    Args:
        runs: as from `best`, of one block.
    """
    own = runs.groupby("row")
    means = own.value.mean().sort_values()
    first = own.first()
    table = {
        "error": means.map(lambda error: f"{error:.5f}" if error < DIVERGED else f"{error:.0e}"),
        "over DPI, %": over_dpi(runs),
        "seeds": own.seed.nunique().astype(str),
        "settings": first.tuned,
        "of": first.of.astype(str),
    }
    return pd.DataFrame(table, index=means.index).fillna("")


def over_dpi(runs: pd.DataFrame) -> pd.Series:
    """By how many percent each row of a block is over DPI, with its interval, as text."""
    finite = runs.groupby("row").value.transform("mean") < DIVERGED
    runs = runs[finite].assign(column="error")
    found = compare(runs[runs.row != "DPI"], runs[runs.row == "DPI"]).set_index("row")
    stars = holm(found.p) < LEVEL
    halves = ["" if pd.isna(half) else f" ± {half:.1f}" for half in found.half]
    cells = [
        f"{percent:+.1f}{half}{' *' if star else ''}"
        for percent, half, star in zip(found.percent, halves, stars, strict=True)
    ]
    return pd.Series(cells, found.index, dtype=str)


def in_short(runs: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """The conditionings of a network in all frameworks, with costs over those of the t map.

    Args:
        runs: as from `best`, of one network.
        costs: as from `costs`.
    """
    seeds = runs.groupby(["row", "framework"]).seed.nunique().groupby("row").max()
    own = costs.loc[runs.arch.iloc[0], list(RELATIVE)]
    times = (own / own.loc["t map"]).loc[own.index.intersection(seeds.index[seeds >= SEEDS])]
    table = times.dropna(axis=1, how="all").map("{:.2f}".format).rename(columns=RELATIVE)
    for framework, of in runs.groupby("framework", sort=False):
        table[f"{framework}, over DPI, %"] = over_dpi(of)
    first = runs[runs.framework == runs.framework.iloc[0]].groupby("row").value.mean()
    return table.fillna("").loc[first.reindex(table.index).sort_values(kind="stable").index]


def cost_table(own: pd.DataFrame) -> pd.DataFrame:
    """What the conditionings of a network cost, the smaller before the larger."""
    own = own.sort_values("parameters").dropna(axis="columns", how="all")
    table = {
        COST[metric][0]: (of * COST[metric][1]).map("{:.3g}".format) for metric, of in own.items()
    }
    return pd.DataFrame(table).replace("nan", "")


def samples(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The quality of the samples of a block's runs, the best conditioning first."""
    own = rows[rows.metric.isin(QUALITY) & rows.run.isin(runs.run)]
    found = own.pivot_table("value", ["row", "seed"], "metric").reindex(columns=list(QUALITY))
    means = found.groupby("row").mean().sort_values("fd_random")
    table = means.map("{:.3g}".format).rename(columns=QUALITY)
    table.insert(0, "seeds", found.groupby("row").size().astype(str))
    return table


def draw_costs(runs: pd.DataFrame, costs: pd.DataFrame, path: Path) -> None:
    """Draw the error over each cost, of each block with two conditionings of several sizes."""
    found = runs.groupby(["block", "arch", "conditioning", "row"], sort=False)
    found = found.agg(error=("value", "mean"), seeds=("seed", "nunique")).join(costs, how="inner")
    found = found[found.error < DIVERGED].reset_index()
    of_size = found.groupby(["block", "conditioning"]).row.transform("size")
    several = found[of_size > 1].groupby("block").conditioning.nunique()
    shown = found.block.isin(several.index[several > 1]) & ((of_size > 1) | (found.seeds >= SEEDS))
    found = found[shown]
    if found.empty:
        raise UserError(f"{path}: no two conditionings have several sizes")
    blocks = found.groupby("block", sort=False)
    colors = _colors(found.conditioning)
    figure = Figure(figsize=(9, 5.2 * blocks.ngroups), layout="constrained")
    parts = figure.subfigures(blocks.ngroups, squeeze=False).flat
    for part, (block, own) in zip(parts, blocks, strict=True):
        part.suptitle(block)
        panels = part.subplots(2, 3, sharey=True)
        for axes, (metric, (title, unit)) in zip(panels.flat, COST.items(), strict=False):
            for name, of in own.sort_values(metric).groupby("conditioning"):
                axes.plot(of[metric] * unit, of.error, "o-", ms=3, color=colors[name], label=name)
            axes.set(xscale="log", xlabel=title)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        panels.flat[-1].remove()
        for axes in panels[:, 0]:
            axes.set(ylabel="mean error")
    _save(figure, path)


def draw_steps(rows: pd.DataFrame, runs: pd.DataFrame, path: Path) -> None:
    """Draw the error at each step over the t map's, seed by seed, each at its best settings."""
    own = rows[rows.metric.isin(["mse", "objective"]) & rows.scalar.notna()]
    own = own[own.run.isin(runs.run)]
    theirs = own[own.row == "t map"][["block", "seed", "scalar", "value"]]
    both = own.merge(theirs, on=["block", "seed", "scalar"], suffixes=("", "_of_tmap"))
    both["ratio"] = both.value / both.value_of_tmap
    seeds = both.groupby(["block", "row"]).seed.transform("nunique")
    both = both[(seeds >= SEEDS) & (both.row != "t map")]
    if both.empty:
        raise UserError(f"{path}: no conditioning has {SEEDS} seeds in common with the t map")
    colors = _colors(both.row.unique())
    blocks = both.groupby("block", sort=False)
    figure = Figure(figsize=(4.5 * blocks.ngroups, 3), layout="constrained")
    grid = figure.subplots(1, blocks.ngroups, squeeze=False)
    for axes, (block, of) in zip(grid.flat, blocks, strict=True):
        axes.axhline(1, color="0.6", linewidth=1)
        axes.set(xlabel="step t", ylabel="error, relative to the t map", title=block)
        for row, ratio in of.groupby(["row", "scalar"]).ratio.mean().groupby("row"):
            axes.plot(ratio.droplevel("row"), "o-", ms=3, color=colors[row], label=row)
    _save(figure, path)


def _colors(names: pd.Series) -> dict[str, str]:
    return {name: f"C{n % 10}" for n, name in enumerate(names.unique())}


def _save(figure: Figure, path: Path) -> None:
    """Save a figure with one legend of all panels below it."""
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    lines = {label: line for label, line in lines.items() if not label.startswith("_")}
    width = 0.4 + 0.07 * max(map(len, lines))  # inches of an entry
    columns = max(1, int(figure.get_figwidth() / width))
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(lines) / columns))
    options = {"loc": "outside lower center", "ncols": columns, "fontsize": "small"}
    figure.legend(lines.values(), lines.keys(), **options)
    figure.savefig(path, dpi=150)


def main() -> None:
    if len(sys.argv) not in (2, 4):
        raise SystemExit(__doc__)
    with one_line():
        rows = read(sys.argv[1])
        runs, of = best(rows), costs(rows)
        for (arch, _), own in runs.groupby(["arch", "protocol"], sort=False):
            if (arch, "t map") in of.index and own.framework.nunique() > 1:
                show(f"{label(arch)}, in short", in_short(own, of))
        for block, own in runs.groupby("block", sort=False):
            show(block, compared(own))
            show(f"{block}: samples", samples(rows, own))
        for arch, own in of.groupby("arch"):
            show(f"{label(arch)}, costs", cost_table(own.droplevel("arch")))
        if len(sys.argv) == 4:
            with style.context(["dpi.reporting.figures", {"axes.titlecolor": "black"}]):
                draw_costs(runs, of, Path(sys.argv[2]))
                draw_steps(rows, runs, Path(sys.argv[3]))


def markdown(table: pd.DataFrame, first: str = "conditioning") -> str:
    """A table of text, with its index as the column `first`; numbers are right-aligned."""
    table = table.rename_axis(first).reset_index()
    number = [table.iloc[:, n].str.match(r"[*+-]*\d").any() for n in range(table.shape[1])]
    lines = [list(table), ["--:" if of else "---" for of in number], *table.to_numpy().tolist()]
    # A single asterisk is one of a pattern.
    lines = [[re.sub(r"(?<!\*)\*(?!\*)", r"\\*", line[0]), *line[1:]] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table as Markdown, if it has rows."""
    if len(table):
        print(f"### {title}\n\n{markdown(table)}\n")


if __name__ == "__main__":
    main()
