"""results.csv: all numbers of a report in long form. The report can be made from it again."""

from glob import glob
from pathlib import Path

import pandas as pd

from dpi.errors import UserError
from dpi.reporting.frame import ROW, Damaged, parse


def to_csv(results: pd.DataFrame) -> str:
    """The file's text, of results as from `frame`."""
    settings = results.filter(like="settings.")
    unused = settings.columns[settings.isna().all()]
    # The first two are alike in all results.
    return results.drop(columns=["finished", "weights", *unused]).to_csv(index=False)


def read_csv(pattern: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and their rows, as from `read_folder`, without folders.

    Args:
        pattern: a file that a report has written, or a pattern of several.

    Raises:
        UserError: there is none, or one that cannot be read.
    """
    damaged: Damaged = {}
    remedy = "name a results.csv as report.py writes it"
    found = [parse(Path(path), _read, remedy, damaged) for path in sorted(glob(pattern))]
    if damaged or not found:
        missing = f"runs={pattern}: there is no such file; {remedy}"
        raise UserError("; ".join(damaged.values()) or missing)
    rows = pd.concat(found, ignore_index=True)
    of_row = rows.columns.isin(ROW) | rows.columns.str.startswith("settings.")
    runs = rows.loc[:, ~of_row].drop_duplicates("run").set_index("run")
    return runs, rows.loc[:, of_row].assign(run=rows.run)


def _read(path: Path) -> pd.DataFrame:
    # As text first: a data set may be called "nan".
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    optional = rows.filter(regex="^(scalar|standard_error|images|split|settings)").columns
    rows[optional] = rows[optional].replace("", None)
    types = dict.fromkeys(("seed", "training_steps", "batch_size", "step"), int)
    types |= dict.fromkeys(("scalar", "value", "standard_error"), float)
    return rows.assign(finished=True, weights="").astype({"config": str} | types)
