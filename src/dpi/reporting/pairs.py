"""Paired differences: DPI against every other row, seed by seed, and what came out."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # scipy.stats would take a second to import

from dpi.reporting.labels import some

if TYPE_CHECKING:
    from dpi.reporting.table import Table

LEVEL = 0.05
"""Of significance; 1 - LEVEL is that of the confidence intervals."""

REFERENCES = {"table2": "DPI", "table3": "DPI", "table5": "λ learned"}
"""The row of each table that is compared with all others."""


def compare(ours: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Rows less other rows of the same block and column, over the seeds that both have.

    The same seeds see the same images and the same noise, so they are compared in pairs.

    Args:
        ours, others: a row a number: block, row, column, seed, value.

    Returns:
        For each block, column, row and other row (`against`): the number of `seeds`, the mean
        `difference`, the same in `percent` of the other with the `half` width of its confidence
        interval (Student's t), and `p` of the hypothesis that there is none. With one seed half
        and p are nan.
    """
    others = others.rename(columns={"row": "against"})
    both = ours.merge(others, on=["block", "column", "seed"], suffixes=("", "_other"))
    both["difference"] = both.value - both.value_other
    found = both.groupby(["block", "column", "row", "against"], sort=False).agg(
        seeds=("seed", "count"),
        other=("value_other", "mean"),
        difference=("difference", "mean"),
        error=("difference", "sem"),
    )
    freedom = (found.seeds - 1).where(found.seeds > 1)
    unit = 100 / found.other.abs()
    found["percent"] = unit * found.difference
    found["half"] = unit * found.error * stdtrit(freedom, 1 - LEVEL / 2)
    found["p"] = 2 * stdtr(freedom, -(found.difference / found.error).abs())
    return found.drop(columns=["other", "error"]).reset_index()


def holm(p: pd.Series) -> pd.Series:
    """Holm's correction: p-values that hold for all comparisons at once; nan stays nan."""
    ordered = p.dropna().sort_values()
    remaining = np.arange(len(ordered), 0, -1)
    return (ordered * remaining).cummax().clip(upper=1).reindex(p.index)


def differences(tables: Iterable["Table"]) -> pd.DataFrame:
    """DPI against every other row of Tables 2 and 3, learned against linear lambda in Table 5.

    Returns:
        As from `compare`, with the `table` and the column's `metric`; p corrected within each
        table; and the `outcome`: better, worse, not significant, or one seed.
    """
    parts = [_of_table(table) for table in tables if table.spec.name in REFERENCES]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["table"])


def _of_table(table: "Table") -> pd.DataFrame:
    columns, ours = table.spec.columns, table.numbers.row == REFERENCES[table.spec.name]
    found = compare(table.numbers[ours], table.numbers[~ours])
    # In the order of the table.
    order = table.cells[["block", "row", "column"]].rename(columns={"row": "against"})
    found = order.merge(found).assign(table=table.spec.title)
    found["metric"] = found.column.map(lambda key: columns[key].title)
    found["p"] = holm(found.p)
    direction = found.column.map(lambda key: columns[key].direction).astype(float)  # also of none
    signed = found.difference * direction
    significant = np.where(signed < 0, "better", "worse")
    undecided = np.where(found.seeds > 1, "not significant", "one seed")
    found["outcome"] = np.where(found.p < LEVEL, significant, undecided)
    return found


def conclusion(found: pd.DataFrame) -> str:
    """One sentence on what the differences say."""
    if found.empty:
        return "There are no runs yet to compare DPI with."
    parts = []
    overall = found[(found.table == "Table 2") & (found.column == "mean")]
    lower = overall.groupby("block").difference.max() < 0
    if len(lower):
        parts.append(
            "over the schedule DPI's error is lower than that of every other model in "
            f"{lower.sum()} of {len(lower)} block{'s' * (len(lower) > 1)}"
        )
    better, worse = (found[found.outcome == outcome] for outcome in ("better", "worse"))
    tested = (found.outcome != "one seed").sum()
    if tested:
        where = worse.block + ": " + worse.metric.str.rstrip(" ↑↓") + " against " + worse.against
        parts.append(
            f"of {tested} comparisons it is significantly better in {len(better)} and "
            f"significantly worse in {len(worse)}" + f" ({some(where, '; ')})" * bool(len(worse))
        )
    else:
        parts.append("no difference can be called significant, which needs at least two seeds")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."
