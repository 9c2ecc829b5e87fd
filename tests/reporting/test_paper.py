import math

import pytest

from dpi.reporting.paper import Column


@pytest.mark.parametrize(
    ("column", "value", "error", "text"),
    [
        ({}, 0.5282, 0.0012, ("5.282e-1", "0.012e-1")),
        ({}, 9.9999e-2, 1e-9, ("1.000e-1", "1e-09")),
        ({}, 12.0, 0.0, ("1.200e1", "")),
        ({}, 0.0, math.nan, ("0.000e0", "")),
        ({}, math.nan, math.nan, ("–", "")),  # noqa: RUF001
        ({}, math.inf, math.nan, ("inf", "")),
        ({"decimals": 2}, 12.3, 0.001, ("12.30", "0.001")),
        # More where few digits would be left.
        ({"decimals": 2, "significant": 3}, 0.05234, 0.0001, ("0.0523", "0.0001")),
        ({"decimals": 2, "sign": "+"}, 1234.5, 0.3, ("+1,234.50", "0.30")),
    ],
)
def test_a_number_is_shown_with_the_digits_of_its_column(column, value, error, text):
    assert Column("", **column).show(value, error) == text
