"""Paired differences: rows against others, seed by seed, and what came out of all of them."""

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # scipy.stats would take a second to import

LEVEL = 0.05
"""Of significance; 1 - LEVEL is that of the confidence intervals."""


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


def conclusion(found: pd.DataFrame) -> str:
    """Whether any of these differences, as from `tables.differences`, is significant, in one
    sentence."""
    if found.empty:
        return (
            "There is nothing to compare yet: train two conditionings with one seed, and evaluate "
            "each run, python evaluate.py run=outputs/RUN eval=denoising (flow: eval=objective)."
        )
    tested = int((found.outcome != "one seed").sum())
    significant = found[found.outcome.isin(["better", "worse"])]
    if not tested:
        return "Nothing can be called significant, which needs two seeds of each row."
    if significant.empty:
        return f"Nothing is significant, of {tested} difference{'s' * (tested != 1)}."
    counts = [
        f"{row}: {(of == 'better').sum()} better, {(of == 'worse').sum()} worse"
        for row, of in significant.groupby("row", sort=False).outcome
    ]
    return f"{len(significant)} of {tested} differences are significant ({'; '.join(counts)})."
