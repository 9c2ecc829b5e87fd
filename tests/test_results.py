"""The committed tables are what their commands make of the committed rows."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dpi.reporting import report

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", [".", "adm"])
def test_the_reproduction_is_made_from_its_rows(folder, tmp_path):
    committed, made = ROOT / "results/reproduction" / folder, tmp_path / "faces64-mini"
    report(committed / "results.csv", tmp_path)
    for name in ("table2.md", "table5.md", "pairs.md"):
        assert (committed / name).read_text() == (made / name).read_text(), name


def test_what_bfloat16_costs_is_made_from_its_rows():
    rows = pd.read_csv(ROOT / "results/precision.csv")
    mse = rows.set_index(["ends", "cond", "scalar", "precision"]).mse.unstack("precision")
    percent = 100 * (mse["bf16-mixed"] / mse["32-true"] - 1)
    page = (ROOT / "results/precision.md").read_text()
    for _, changes in percent.groupby(["ends", "cond"]):
        by_scalar = changes.droplevel(["ends", "cond"])
        shown = [by_scalar[by_scalar.index.isna()].iloc[0], *by_scalar[[0, 333, 666, 999]]]
        assert " | ".join(f"{change:+.2f}" for change in shown) in page


def test_the_comparison_of_conditionings_is_made_from_its_rows():
    command = [sys.executable, ROOT / "scripts/conditioning.py", "results/conditioning/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    tables = [table.partition("\n\n")[2].strip() for table in done.stdout.split("### ")[1:]]
    page = (ROOT / "docs/CONDITIONING.md").read_text()
    assert tables
    for table in tables:
        assert table in page


def test_the_records_are_made_from_the_rows():
    command = [sys.executable, ROOT / "scripts/records.py", "results/conditioning/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "results/records.md").read_text()
