"""Numbers as text, with the paper's digits."""

import math
from collections.abc import Callable

Digits = Callable[[float, float | None], tuple[str, str]]
"""(value, standard error) -> both as text; the error is "" where there is none, or it is 0."""


def scientific(value: float, error: float | None = None) -> tuple[str, str]:
    """Four digits, the error with the value's exponent: 5.282e-1 and 0.012e-1."""
    if not math.isfinite(value):
        return str(value), ""
    mantissa, exponent = f"{value:.3e}".split("e")
    power = int(exponent)
    rounded = f"{(error or 0.0) / 10.0**power:.3f}"
    if error and not float(rounded):
        return f"{mantissa}e{power}", f"{error:.0e}"
    return f"{mantissa}e{power}", f"{rounded}e{power}" if error else ""


def fixed(decimals: int, significant: int = 1) -> Digits:
    """So many decimals; more where a small value would keep fewer significant digits."""

    def show(value: float, error: float | None = None) -> tuple[str, str]:
        if not math.isfinite(value):
            return str(value), ""
        first = math.floor(math.log10(abs(value))) if value else 0
        places = max(decimals, significant - 1 - first) if significant > 1 else decimals
        return f"{value:,.{places}f}", _rounded(error, places)

    return show


def percent(value: float, error: float | None = None) -> tuple[str, str]:
    """A change, with its sign: +1.25 and 0.31."""
    return f"{value:+.2f}", _rounded(error, 2)


def _rounded(error: float | None, decimals: int) -> str:
    if not error:
        return ""
    text = f"{error:.{decimals}f}"
    return text if float(text) else f"{error:.1g}"
