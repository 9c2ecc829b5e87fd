"""Which conditioning has the lowest error: each at its best settings, compared seed by seed.

    python scripts/conditioning.py 'results/conditioning/comparison/*.csv' [steps.png]

The files are results.csv of reports (report.py). Runs that differ in nothing but network size,
conditioning, learning rates, weight decay of lambda, dropout and seed are in one table. The seeds
that ran with most of these settings choose one for each conditioning, and the other seeds, if there
are any, compare them. Differences are over the seeds that both have, with 95 % intervals; * marks
what is significant (5 %, Holm-corrected within a column). The figure shows the error at each step
over the t map's.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure

from dpi.cli import one_line
from dpi.errors import UserError
from dpi.reporting.labels import label, setting
from dpi.reporting.pairs import LEVEL, compare, holm
from dpi.reporting.results_csv import read_csv

RUN = ["arch", "framework", "cond", "seed", "config"]
"""What is known of a run, beside IMAGES."""

IMAGES = ["data", "scale", "images", "split"]
"""What runs that are compared have in common."""

TUNED = ("training.lr", "training.lr_lambda", "training.weight_decay_lambda", "arch.dropout")
"""Settings that are chosen for each conditioning."""

FINEST = {
    "drunet": ["head.*", "encoder.0.*", "decoder.2.*", "tail.*"],
    "adm": ["encoder.0.*", "encoder.1.*", "encoder.2.*", "decoder.6.*", "decoder.7.*", "out.*"],
}
"""The parameters of the finest level at scale=mini and small."""

SEEDS = 3
"""Conditionings with fewer seeds are not in the figure."""

DIVERGED = 10
"""No difference is given of a larger error; predicting nothing gives about 1."""

BASES = {"t map": "vs t map, %", "DPI": "vs DPI, %"}
"""What all rows of a table are compared with."""


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
    return rows.merge(runs[[*RUN, *IMAGES]].join(named), on="run")


def _names(run: Any) -> dict[str, str]:
    config = json.loads(run.config)
    if config.get("trainer.precision") == "32-true":  # set for a GPU, the default of a CPU
        del config["trainer.precision"]
    said = {key: _setting(run.arch, key, value) for key, value in config.items()}
    tuned = [key for key in said if key in TUNED]
    own = [key for key in said if key.startswith(("arch.", "cond.")) and key not in tuned]
    protocol = ", ".join(said[key] for key in said if key not in tuned + own)
    protocol = "; ".join(filter(None, [protocol, f"{run.training_steps:,} steps"]))
    return {
        "row": label(run.cond, *(said[key] for key in own)),
        "tuned": ", ".join(sorted(said[key] for key in tuned)),
        "protocol": protocol,
        "block": f"{label(run.arch)}, {run.framework}; {protocol}",
    }


def _setting(arch: str, key: str, value: Any) -> str:
    if key.startswith("cond.") and key.endswith("include"):
        patterns = [pattern.removeprefix("network.") for pattern in value]
        if patterns == FINEST.get(arch):
            return "finest level"
        if patterns == ["*.conv1"]:
            return "first convolutions"
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
        **{title: _over(runs, base) for base, title in BASES.items()},
        "seeds": own.seed.nunique().astype(str),
        "settings": first.tuned,
        "tried": first.of.astype(str),
    }
    return pd.DataFrame(table, index=means.index).fillna("")


def _over(runs: pd.DataFrame, base: str) -> pd.Series:
    """By how many percent each row of a block is over another, with its interval, as text."""
    finite = runs.groupby("row").value.transform("mean") < DIVERGED
    runs = runs[finite].assign(column="error")
    found = compare(runs[runs.row != base], runs[runs.row == base]).set_index("row")
    stars = holm(found.p) < LEVEL
    halves = ["" if pd.isna(half) else f" ± {half:.1f}" for half in found.half]
    cells = [
        f"{percent:+.1f}{half}{' *' if star else ''}"
        for percent, half, star in zip(found.percent, halves, stars, strict=True)
    ]
    return pd.Series(cells, found.index, dtype=str)


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
    colors = {row: f"C{n % 10}" for n, row in enumerate(both.row.unique())}
    blocks = both.groupby("block", sort=False)
    figure = Figure(figsize=(max(7, 4.5 * blocks.ngroups), 4.2), layout="constrained")
    grid = figure.subplots(1, blocks.ngroups, squeeze=False)
    for axes, (block, of) in zip(grid.flat, blocks, strict=True):
        axes.axhline(1, color="0.6", linewidth=1)
        axes.set(xlabel="step t", ylabel="error, relative to the t map")
        axes.set_title(block.replace("; ", "\n"))
        for row, ratio in of.groupby(["row", "scalar"]).ratio.mean().groupby("row"):
            axes.plot(ratio.droplevel("row"), "o-", ms=3, color=colors[row], label=row)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines[1:]}
    place = {"loc": "outside lower center", "ncols": 2, "fontsize": "small"}
    figure.legend(lines.values(), lines.keys(), **place)
    figure.savefig(path, dpi=150)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    with one_line():
        rows = read(sys.argv[1])
        runs = best(rows)
        for block, own in runs.groupby("block", sort=False):
            print(f"### {block}\n\n{markdown(compared(own))}\n")
        if len(sys.argv) == 3:
            with style.context(["dpi.reporting.figures", {"axes.titlecolor": "black"}]):
                draw_steps(rows, runs, Path(sys.argv[2]))


def markdown(table: pd.DataFrame, first: str = "conditioning") -> str:
    """A table of text, with its index as the column `first`; numbers are right-aligned."""
    table = table.rename_axis(first).reset_index()
    number = [table.iloc[:, n].str.match(r"[*+-]*\d").any() for n in range(table.shape[1])]
    lines = [list(table), ["--:" if of else "---" for of in number], *table.to_numpy().tolist()]
    # A single asterisk is one of a pattern.
    lines = [[re.sub(r"(?<!\*)\*(?!\*)", r"\\*", line[0]), *line[1:]] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
