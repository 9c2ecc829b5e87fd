"""What is to be said under a table, mostly: with what its numbers were measured."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from dpi.reporting.labels import some
from dpi.reporting.paper import MISSING
from dpi.reporting.table import Table

TRAINING = ["training_steps", "batch_size"]
"""Settings of the training that are compared, of the evaluations that depend on it."""

TRAINED = ("denoising", "objective", "fidelity")
"""Those evaluations."""

UNPRINTED = ("reference content", "extractor weights")
"""Settings that are compared but, where all agree, not printed."""


def warnings(table: Table) -> Iterator[str]:
    """What restricts the comparison: settings that differ, seeds that are missing."""
    settings = _settings(table.numbers)
    groups = settings.groupby(["block", "column", "setting"]).value
    differing = settings[groups.transform("nunique") > 1]
    for (block, setting), own in differing.groupby(["block", "setting"], sort=False):
        usual = own.value.mode()[0]
        others = own[own.value != usual].groupby("value").run.unique()
        said = "; ".join(f"{value} for {some(runs)}" for value, runs in others.items())
        yield f"{block}: rows differ in {setting}: {usual} for most, {said}."
    cells = table.cells[table.cells.column != "change"]
    most = cells.groupby(["block", "row"]).seeds.transform("max")
    few = [
        f"{table.spec.columns[cell.column].title} of {cell.block}, {cell.row} has {cell.seeds:.0f}"
        for cell in cells[cells.seeds < most].itertuples()
    ]
    if few:
        yield f"Seeds are missing in some columns: {some(few, '; ')}."


COUNTS = (
    "The paper's count of GFLOPs takes a transposed convolution of stride 2, as in DRUNet, for "
    "four times its operations, and leaves out attention: it may be above or below all of them."
)


def remarks(table: Table) -> Iterator[str]:
    """What ours and the paper's numbers are of."""
    data, scale = table.numbers[["data", "scale"]].iloc[0]
    if any(table.paired.values()):
        ours = f"ours are of {data} at scale {scale}"
        yield f"The paper's numbers are of FFHQ 64x64 and 500,000 steps, {ours}."
    if {"gflops", "gflops_true"} <= set(table.numbers.column):
        yield COUNTS
    settings = _settings(table.numbers)
    shown = ~settings.setting.isin(UNPRINTED) & (settings.value != MISSING)
    values = settings[shown].groupby("setting", sort=False).value.unique()
    if len(values):
        said = ", ".join(f"{setting} {' / '.join(of)}" for setting, of in values.items())
        yield f"Ours were measured with: {said}."


def _settings(numbers: pd.DataFrame) -> pd.DataFrame:
    """A row for each number and setting that its column has: block, column, run, setting, value;
    both as text, MISSING where others alone have the setting."""
    where = ["eval", "block", "column", "run"]
    settings = [key for key in numbers if key.startswith("settings.")]
    long = numbers[[*where, *TRAINING, *settings]].melt(where, var_name="setting")
    relevant = long["eval"].isin(TRAINED) | ~long.setting.isin(TRAINING)
    long = long[relevant & (long.groupby(["column", "setting"]).value.transform("count") > 0)]
    names = long.setting.str.removeprefix("settings.").str.replace("_", " ")
    return long.assign(setting=names, value=long.value.map(_text))


def _text(value: Any) -> str:
    if pd.isna(value):
        return MISSING
    is_whole = isinstance(value, int | float) and float(value).is_integer()
    return f"{int(value):,}" if is_whole and not isinstance(value, bool) else str(value)
