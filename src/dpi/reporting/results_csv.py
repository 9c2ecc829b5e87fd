"""results.csv: all numbers of a report in long form. The report can be made from it again."""

from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd

from dpi.errors import UserError
from dpi.reporting.frame import IMAGES, NAMES, check_names, in_order, parse

RUN = [
    *(*NAMES, "seed", "training_steps", "batch_size", "config"),
    *("network", "model", "protocol", "variant", "block"),
]
"""Columns of a run, the same in all of its rows."""

INTERNAL = ["finished", "weights"]
"""Columns that the file does not have: they are alike in all results."""


def to_csv(results: pd.DataFrame) -> str:
    """The file's text, of results as from `frame`."""
    settings = results.columns[results.columns.str.startswith("settings.")]
    unused = [key for key in settings if results[key].isna().all()]
    # 15 digits are those of a number rounded to fewer, and no more.
    return results.drop(columns=[*INTERNAL, *unused]).to_csv(index=False, float_format="%.15g")


def read_csv(pattern: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and their rows, as from `read_runs` and before `labelled`; without folders.

    Args:
        pattern: a file that a report has written, or a pattern of several.

    Raises:
        UserError: there is none, or one that cannot be read.
    """
    paths = sorted(glob(pattern))
    if not paths:
        raise UserError(f"runs={pattern}: there is no such file; name a results.csv of a report")
    remedy = "name a results.csv as report.py writes it"
    rows = pd.concat([parse(Path(path), _rows, remedy) for path in paths], ignore_index=True)
    runs = rows.drop_duplicates("run").set_index("run")[RUN]
    return in_order(runs), rows.drop(columns=RUN)


def _rows(path: Path) -> pd.DataFrame:
    # As text first: an empty protocol is not a missing one, and a data set may be called "nan".
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = rows.assign(config=rows.get("config", ""))  # files of older versions have none
    for names in rows[NAMES].drop_duplicates().to_dict("records"):
        check_names(names)
    number = lambda key: rows[key].replace("", "nan").astype(float)  # noqa: E731
    numbers = {key: number(key) for key in ("scalar", "value", "standard_error")}
    settings = {key: rows[key].map(_setting) for key in rows if key.startswith("settings.")}
    settings |= {key: rows[key].replace("", None) for key in IMAGES if key in rows}
    rows = rows.assign(**numbers, **settings, finished=True, weights="")
    whole = ["seed", "training_steps", "batch_size", "step"]
    return rows.astype(dict.fromkeys(whole, int))


def _setting(text: str) -> Any:
    if not text:
        return None
    return int(text) if text.isdecimal() and str(int(text)) == text else text
