"""results.csv: all numbers of a report in long form. The report can be made from it again."""

from glob import glob
from pathlib import Path

import pandas as pd

from dpi.errors import UserError
from dpi.reporting.frame import OF_FOLDERS, ROW, RUN, Damaged, parse, plain

FORMULA = r"'*[=+\-@\t\r](?![\d.]+(e[+-]\d+)?$)"
"""What begins a text that a spreadsheet would run, or one that is quoted already; no number."""


def to_csv(results: pd.DataFrame) -> str:
    """The file's text, of results as from `frame`."""
    settings = results.filter(like="settings.")
    unused = settings.columns[settings.isna().all()]
    internal = ["on", *OF_FOLDERS, "left_out"]
    return quoted(results.drop(columns=[*internal, *unused]))


def quoted(frame: pd.DataFrame) -> str:
    """A DataFrame as CSV, with an apostrophe before texts that a spreadsheet would run."""
    return frame.replace(f"^(?={FORMULA})", "'", regex=True).to_csv(index=False)


def read_csv(pattern: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and their rows, as from `read_folder`, without folders.

    Args:
        pattern: a file that a report has written, or a pattern of several.

    Raises:
        UserError: there is none, or one that cannot be read.
    """
    damaged: Damaged = {}
    remedy = "name a results.csv as report.py writes it"
    paths = [pattern] if Path(pattern).exists() else sorted(glob(pattern, recursive=True))
    found = [parse(Path(path), _read, remedy, damaged) for path in paths]
    if damaged or not found:
        missing = f"runs={pattern}: there is no such file; {remedy}"
        raise UserError("; ".join(damaged.values()) or missing)
    rows = pd.concat(found, ignore_index=True)
    runs = rows[["run", *RUN]].drop_duplicates()
    if runs.run.duplicated().any():
        name = runs.run[runs.run.duplicated()].iloc[0]
        raise UserError(f"runs={pattern}: two runs are called {name}: give them one by one")
    runs = runs.set_index("run").assign(last=None)
    of_row = rows.columns.isin(["run", *ROW]) | rows.columns.str.startswith("settings.")
    # Each has rows of one training.
    return runs, rows.loc[:, of_row].assign(finished=True, weights=rows.run)


def _read(path: Path) -> pd.DataFrame:
    # As text first: a data set may be called "nan".
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = rows.replace(f"^'(?={FORMULA})", "", regex=True)
    later = ["training_precision", "images", "split"]
    rows = rows.reindex(columns=rows.columns.union(later, sort=False))
    rows[["data", "scale"]] = rows[["data", "scale"]].map(plain)
    known = "scalar|standard_error|training_precision|images|split|settings"
    optional = rows.filter(regex=f"^({known})").columns
    rows[optional] = rows[optional].replace("", None)
    types = dict.fromkeys(("seed", "training_steps", "batch_size", "step"), int)
    types |= dict.fromkeys(("scalar", "value", "standard_error"), float)
    return rows.astype({"config": str} | types)
