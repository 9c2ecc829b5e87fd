"""Rows as a table for the terminal."""

import pandas as pd

from dpi.runs.rows import Row

SHOWN = 8
"""With more scalars than this, four are shown: the ends and those nearest to the thirds."""


FEW_DRAWS = 5
"""Of fewer draws of noise no standard error is shown: that of two says nothing."""


def as_text(rows: list[Row], num_scalars: int | None = None) -> str:
    """Rows as text: a line for each scalar, a column for each metric; and what means and standard
    errors are of.

    Args:
        rows: of one evaluation.
        num_scalars: of the schedule, where a row is a mean over it.
    """
    scalars = sorted({row.scalar for row in rows if row.scalar is not None})
    if len(scalars) > SHOWN:
        thirds = [i * scalars[-1] / 3 for i in range(4)]
        scalars = [min(scalars, key=lambda s: abs(s - third)) for third in thirds]
    lines = {
        "all" if scalar is None else scalar: {
            row.metric: _cell(row) for row in rows if row.scalar == scalar
        }
        for scalar in [*scalars, None]
    }
    shown = pd.DataFrame.from_dict({k: v for k, v in lines.items() if v}, orient="index")
    text = shown.fillna("-").rename_axis(columns="scalar").to_string()
    taken = {row.settings["scalars"] for row in rows if "scalars" in row.settings}
    about = [f"all: the mean over the schedule, from {n:,} of {num_scalars:,} steps" for n in taken]
    pictures = {row.settings["pictures"] for row in rows if "pictures" in row.settings}
    about += [f"errors are of {n:,} held-out images" for n in pictures]
    if any(_has_error(row) and "noise_seeds" in row.settings for row in rows):
        about.append("±: standard error over draws of noise; the images are the same in each")
    return "\n".join([text, *[""] * bool(about), *about])


def _has_error(row: Row) -> bool:
    draws = row.settings.get("noise_seeds", FEW_DRAWS)  # an inception score has none
    return row.standard_error is not None and draws >= FEW_DRAWS


def _cell(row: Row) -> str:
    value = f"{row.value:,}" if isinstance(row.value, int) else f"{row.value:.4g}"
    return f"{value} ± {row.standard_error:.1g}" if _has_error(row) else value
