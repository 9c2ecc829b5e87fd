"""What is to be said under a table, mostly: with what its numbers were measured."""

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from dpi.reporting.labels import some
from dpi.reporting.paper import MISSING
from dpi.reporting.tables import Table

TRAINING = ["training_steps", "batch_size", "training_precision"]
"""Of the training what is compared, of the evaluations that depend on it."""

TRAINED = ("denoising", "objective", "fidelity")
"""Those evaluations."""

USUAL = 500
"""Held-out images of an error, where there are as many."""

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
    pictures = pd.to_numeric(table.numbers["settings.pictures"], errors="coerce").min()
    if pictures < USUAL:
        yield f"Errors are of {pictures:.0f} held-out images; {USUAL} are usual."
    cells = table.cells[table.cells.column != "change"]
    most = cells.groupby(["block", "row"]).seeds.transform("max")
    few = [
        f"{table.spec.columns[cell.column].title} of {cell.block}, {cell.row} has {cell.seeds:.0f}"
        for cell in cells[cells.seeds < most].itertuples()
    ]
    if few:
        yield f"Seeds are missing in some columns: {some(few, '; ')}."


def remarks(table: Table) -> Iterator[str]:
    """What is marked, and what ours and the paper's numbers are of."""
    if any(column.better for column in table.spec.columns.values()):
        yield "Best and second best of each block are marked; ± standard error over seeds."
    data, scale = table.numbers[["data", "scale"]].iloc[0]
    if table.cells.column.str.startswith("paper ").any():
        yield f"Paper: FFHQ 64x64, 500,000 steps. Here: {data}, scale {scale}."
    settings = _settings(table.numbers)
    shown = ~settings.setting.isin(UNPRINTED) & (settings.value != MISSING)
    values = settings[shown].groupby("setting", sort=False).value.unique()
    if len(values):
        said = ", ".join(f"{setting} {' / '.join(of)}" for setting, of in values.items())
        yield f"Measured with: {said}."


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
    text = MISSING if pd.isna(value) else str(value)
    return f"{int(text):,}" if re.fullmatch(r"[1-9]\d*", text) else text
