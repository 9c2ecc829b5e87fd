import math

import pytest

from dpi.reporting.paper import Column, printed


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.5282, 0.0012, ("5.282e-1", "0.012e-1")),
        (7.854e-5, math.nan, ("7.854e-5", "")),
        (9.9999e-2, 1e-9, ("1.000e-1", "1e-09")),
        (12.0, 0.5, ("1.200e1", "0.050e1")),
        (12.0, 0.0, ("1.200e1", "")),
        (0.0, math.nan, ("0.000e0", "")),
        (math.nan, math.nan, ("–", "")),  # noqa: RUF001
        (math.inf, math.nan, ("inf", "")),
    ],
)
def test_scientific(value, error, text):
    assert Column("").show(value, error) == text


def test_decimals_are_the_papers_and_more_for_small_values():
    assert Column("", decimals=2).show(127.8) == ("127.80", "")
    assert Column("", decimals=2).show(12.3, 0.001) == ("12.30", "0.001")
    assert Column("", decimals=2, significant=3).show(0.05234, 0.0001) == ("0.0523", "0.0001")
    assert Column("", decimals=2, sign="+").show(1234.5, 0.3) == ("+1,234.50", "0.30")


def test_the_papers_numbers_are_those_of_its_columns():
    assert printed("table4")["diffusion", "adm", "dpi"] == {
        "parameters": 121.74,
        "memory": 38.84,
        "gflops": 49.77,
        "gflops_true": None,
    }
    assert printed("table5")[None, "adm", "λ learned"] == {"diffusion": 1.772e-2, "flow": 1.086e-1}
