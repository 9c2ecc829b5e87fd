"""Which conditioning has the lowest error: each at its best learning rate, compared seed by seed.

    python scripts/conditioning.py 'results/conditioning/*.csv'

The files are results.csv of reports (report.py). Runs that differ in nothing but conditioning,
learning rate and seed are in one table. A learning rate is chosen by the seeds that ran with most
of them. The last column is the difference from the first row, with its 95 % interval over paired
seeds; * marks what is significant (5 %, Holm-corrected within a table).
"""

import re
import sys

import pandas as pd

from dpi.cli import one_line
from dpi.reporting.pairs import LEVEL, compare, holm
from dpi.reporting.results_csv import read_csv

DEFAULT = 1e-3
"""The learning rate of runs at scale=mini that name none."""

LR = re.compile(r"(?:, )?\blr = ([\d.e-]+)")


def read(pattern: str) -> tuple[pd.DataFrame, pd.Series]:
    """The errors, a row a run with block, row (the conditioning), lr, seed and value, the mean over
    the schedule; and the parameters in millions by block's network and row.

    Raises:
        UserError: no such file, or one that is not of a report.
    """
    runs, rows = read_csv(pattern)
    rows = rows.merge(runs.reset_index(), on="run").rename(columns={"model": "row"})
    sizes = rows[rows.metric == "parameters"].groupby(["network", "row"]).value.first() / 1e6
    means = rows[rows.metric.isin(["mse", "objective"]) & rows.scalar.isna()]
    lr = means.protocol.str.extract(LR, expand=False).astype(float).fillna(DEFAULT)
    protocol = means.protocol.str.replace(LR, "", regex=True).str.strip(", ")
    block = (
        means.network
        + means.framework.map(", {}".format)
        + protocol.map(lambda text: f"; {text}" if text else "")
        + means.training_steps.map("; {:,} steps".format)
    )
    keep = ["block", "network", "row", "lr", "seed", "value"]
    return means.assign(block=block, lr=lr)[keep], sizes


def at_best_lr(own: pd.DataFrame) -> pd.DataFrame:
    """The runs of one conditioning at its best learning rate."""
    tried = own.groupby("seed").lr.nunique()
    tuned = own[own.seed.isin(tried.index[tried == tried.max()])]
    return own[own.lr == tuned.groupby("lr").value.mean().idxmin()]


def table(own: pd.DataFrame, sizes: pd.Series) -> str:
    """A block as Markdown, the best conditioning first."""
    best = pd.concat(at_best_lr(of) for _, of in own.groupby("row")).assign(column="error")
    means = best.groupby("row").value.mean().sort_values()
    is_first = best.row == means.index[0]
    found = compare(best[~is_first], best[is_first]).set_index("row")
    found["significant"] = holm(found.p) < LEVEL
    at, lrs = own.groupby(["row", "lr"]).value.mean(), sorted(own.lr.unique())
    seeds = best.groupby("row").seed.nunique()
    head = ["conditioning", "parameters, M", *(f"lr {lr:g}" for lr in lrs), "seeds", "error", "%"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for name, mean in means.items():
        size = sizes.get((own.network.iloc[0], name))
        cells = [name, "" if size is None else f"{size:.2f}"]
        cells += [_cell(at.get((name, lr))) for lr in lrs]
        cells += [str(seeds[name]), f"{mean:.5f}", ""]
        if name in found.index:
            percent, half, star = found.loc[name, ["percent", "half", "significant"]]
            half = "" if pd.isna(half) else f" ± {half:.1f}"
            cells[-1] = f"{percent:+.1f}{half}{' *' if star else ''}"
        lines.append(cells)
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {own.block.iloc[0]}\n\n{text}\n"


def _cell(error: float | None) -> str:
    if error is None:
        return ""
    return f"{error:.5f}" if error < 10 else f"{error:.0e}"  # diverged


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with one_line():
        rows, sizes = read(sys.argv[1])
        for _, own in rows.groupby("block", sort=False):
            print(table(own, sizes))


if __name__ == "__main__":
    main()
