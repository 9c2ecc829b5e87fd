import math

import pandas as pd
import pytest
from reporting.made_up import row, tables_of
from scipy.stats import ttest_rel

from dpi.reporting.pairs import compare, conclusion, holm
from dpi.reporting.tables import differences

DPI = ("diffusion", "adm", "dpi")
TMAP = ("diffusion", "adm", "tmap")


def numbers(name, by_seed):
    return pd.DataFrame(
        {"block": "b", "column": "c", "row": name, "seed": seed, "value": value}
        for seed, value in by_seed.items()
    )


def compared(a, b):
    return compare(numbers("a", a), numbers("b", b))


def test_the_interval_and_p_are_those_of_a_paired_t_test():
    # In another order, and a seed that only one of them has.
    a, b = {0: 1.0, 1: 1.2, 2: 1.1, 3: 9.0}, {2: 1.5, 0: 1.3, 1: 1.9}
    found = compared(a, b).iloc[0]
    expected = ttest_rel([1.0, 1.2, 1.1], [1.3, 1.9, 1.5])
    interval = expected.confidence_interval(0.95)
    other = (1.3 + 1.9 + 1.5) / 3
    assert found.seeds == 3
    assert found.p == pytest.approx(expected.pvalue)
    assert found.percent - found.half == pytest.approx(100 * interval.low / other)
    assert found.percent + found.half == pytest.approx(100 * interval.high / other)


def test_one_seed_has_a_difference_and_nothing_else():
    found = compared({0: 1.0}, {0: 2.0, 1: 5.0}).iloc[0]
    assert (found.seeds, found.difference, found.percent) == (1, -1.0, -50.0)
    assert math.isnan(found.half) and math.isnan(found.p)
    assert compared({0: 1.0}, {1: 1.0}).empty


def test_equal_rows_do_not_differ():
    found = compared({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).iloc[0]
    assert (found.difference, found.half) == (0, 0)
    assert not found.p < 0.05


def test_holm_by_hand():
    # 3 x 0.01, then 2 x 0.02 = 0.04, then 1 x 0.03, which may not be less than that before.
    found = holm(pd.Series({"a": 0.02, "b": 0.01, "c": 0.03, "one seed": math.nan}))
    assert found[["a", "b", "c"]].tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert math.isnan(found["one seed"])
    assert holm(pd.Series([0.6, 0.9])).tolist() == [1, 1]


def make_pair(make_run, dpi, tmap):
    """Runs of DPI and of the t map; a number a seed."""
    for kind, values in ((DPI, dpi), (TMAP, tmap)):
        for seed, value in enumerate(values):
            denoising = [row("mse", value), row("mse", value, 0)]
            make_run(kind, {"denoising": denoising, "fidelity": [row("recall", value)]}, seed)


@pytest.mark.parametrize(
    ("dpi", "tmap", "outcomes", "said"),
    [
        # Lower is better for an error, higher for recall.
        (
            *([1.0, 1.1, 1.2], [2.0, 2.11, 2.2], ["better", "better", "worse"]),
            "3 of 3 differences are significant (DPI: 2 better, 1 worse).",
        ),
        (
            *([1.0, 2.0], [2.0, 1.5], ["not significant"] * 3),
            "Nothing is significant, of 3 differences.",
        ),
        (
            *([2.0], [1.0], ["one seed"] * 3),
            "Nothing can be called significant, which needs two seeds of each row.",
        ),
        ([], [1.0], [], "There is nothing to compare yet: train two"),
    ],
)
def test_what_came_out_is_one_sentence(make_run, runs, dpi, tmap, outcomes, said):
    make_pair(make_run, dpi, tmap)
    found = differences(tables_of(runs).values())
    assert list(found.get("outcome", [])) == outcomes
    assert conclusion(found).startswith(said)


def test_p_is_corrected_within_a_table(make_run, runs):
    make_pair(make_run, [1.0, 1.1, 1.2], [1.2, 1.4, 1.6])
    found = differences(tables_of(runs).values()).set_index("column")
    alone = ttest_rel([1.0, 1.1, 1.2], [1.2, 1.4, 1.6]).pvalue
    assert found.p["recall"] == pytest.approx(alone)  # the only one of Table 3
    assert found.p["t0"] == found.p["mean"] == pytest.approx(2 * alone)
    # So near the threshold that the correction decides.
    assert (found.outcome["recall"], found.outcome["mean"]) == ("worse", "not significant")


def test_the_ranking_compares_the_first_of_each_block_with_the_others(make_run, runs):
    make_pair(make_run, [1.2, 1.3, 1.4], [1.0, 1.11, 1.2])
    make_run(("diffusion", "drunet", "dpi"), {"denoising": [row("mse", 1.0)]})
    found = differences(tables_of(runs, paper=False).values())
    assert set(zip(found.table, found.row, found.against, strict=True)) == {
        ("Ranking", "t map", "DPI")
    }
    assert found.set_index("column").outcome.to_dict() == {"objective": "better", "recall": "worse"}


def test_table_5_compares_the_learned_with_the_linear_lambda(make_run, runs):
    for seed in range(3):
        for schedule, value in ((None, 1.0), ("linear", 1.1)):
            settings = {"cond.schedule": schedule} if schedule else {}
            rows = {"objective": [row("objective", value + 0.001 * seed**2 * value)]}
            make_run(("flow", "adm", "dpi"), rows, seed, settings)
    found = differences(tables_of(runs).values()).iloc[0]
    assert (found.row, found.against, found.outcome) == ("λ learned", "λ(s) = s", "better")
    assert found.percent == pytest.approx(-100 / 11)
