"""Which conditioning has the lowest error: each at its best settings, compared seed by seed.

    python scripts/conditioning.py 'results/conditioning/*.csv'

The files are results.csv of reports (report.py). Runs that differ in nothing but conditioning,
learning rates, weight decay, dropout and seed are in one table. The settings are chosen by the
seeds that ran with most of them, and compared on the others, if there are any. The last column is
the difference from the first row, with its 95 % interval over paired seeds; * marks what is
significant (5 %, Holm-corrected within a table).
"""

import re
import sys

import pandas as pd

from dpi.cli import one_line
from dpi.reporting.pairs import LEVEL, compare, holm
from dpi.reporting.results_csv import read_csv

TUNED = re.compile(r"(?:, )?\b((?:lr|lr_lambda|weight_decay_lambda|dropout) = [\d.e-]+)")
"""Settings that are chosen for each conditioning, as labels have them."""


def read(pattern: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The errors, a row a run with block, network, row (the conditioning), tuned (the settings),
    seed and value, the mean over the schedule; and the cost by network and row.

    Raises:
        UserError: no such file, or one that is not of a report.
    """
    runs, rows = read_csv(pattern)
    rows = rows.merge(runs.reset_index(), on="run")
    labels = rows[["network", "model", "protocol"]]
    tuned = rows.variant.map(lambda text: ", ".join(sorted(TUNED.findall(text))))
    rows = rows.assign(tuned=tuned, **labels.map(lambda text: TUNED.sub("", text).strip(", ")))
    rows = rows.rename(columns={"model": "row"})
    cost = rows[rows.metric.isin(COST)].pivot_table("value", ["network", "row"], "metric", "median")
    errors = rows[rows.metric.isin(["mse", "objective"]) & rows.scalar.isna()]
    block = (
        errors.network
        + errors.framework.map(", {}".format)
        + errors.protocol.map(lambda text: f"; {text}" if text else "")
        + errors.training_steps.map("; {:,} steps".format)
    )
    return errors.assign(block=block)[["block", "network", "row", "tuned", "seed", "value"]], cost


COST = {"parameters": 1e-6, "gflops_true": 1, "training_step_s": 1e3}
"""What a network costs, and the unit in which it is printed."""


def at_best(own: pd.DataFrame) -> tuple[str, int, pd.DataFrame]:
    """The best settings of a conditioning, how many were tried, and its runs with them."""
    tried = own.groupby("seed").tuned.nunique()
    tuning = own.seed.isin(tried.index[tried == tried.max()])
    best = own[tuning].groupby("tuned").value.mean().idxmin()
    runs = own[own.tuned == best]
    fresh = runs[~runs.seed.isin(own.seed[tuning])]
    return best, tried.max(), runs if fresh.empty else fresh


def table(own: pd.DataFrame, cost: pd.DataFrame) -> str:
    """A block as Markdown, the best conditioning first."""
    chosen = {name: at_best(of) for name, of in own.groupby("row")}
    best = pd.concat(runs for _, _, runs in chosen.values()).assign(column="error")
    means = best.groupby("row").value.mean().sort_values()
    is_first = best.row == means.index[0]
    found = compare(best[~is_first], best[is_first]).set_index("row")
    found["significant"] = holm(found.p) < LEVEL
    head = ["conditioning", "parameters, M", "GFLOPs", "step, ms", "settings", "of", "seeds"]
    head += ["error", "%"]
    lines = [head, ["---", "--:", "--:", "--:", "---", *["--:"] * 4]]
    for name, mean in means.items():
        settings, tried, runs = chosen[name]
        own_cost = cost.reindex(columns=list(COST)).reindex([(own.network.iloc[0], name)]).iloc[0]
        numbers = [own_cost[key] * unit for key, unit in COST.items()]
        cells = [name, *("" if pd.isna(n) else f"{n:.3g}" for n in numbers)]
        cells += [settings, str(tried), str(runs.seed.nunique()), _error(mean), ""]
        if name in found.index:
            percent, half, star = found.loc[name, ["percent", "half", "significant"]]
            half = "" if pd.isna(half) else f" ± {half:.1f}"
            cells[-1] = f"{percent:+.1f}{half}{' *' if star else ''}"
        lines.append(cells)
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {own.block.iloc[0]}\n\n{text}\n"


def _error(error: float) -> str:
    return f"{error:.5f}" if error < 10 else f"{error:.0e}"  # diverged


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with one_line():
        rows, cost = read(sys.argv[1])
        for _, own in rows.groupby("block", sort=False):
            print(table(own, cost))


if __name__ == "__main__":
    main()
