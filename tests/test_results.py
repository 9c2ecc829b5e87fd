"""The committed tables are what their commands make of the committed rows."""

import subprocess
import sys
from pathlib import Path

import pytest

from dpi.reporting import report

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    report(ROOT / "results/reproduction/results.csv", out)
    return out / "faces64-mini"


@pytest.mark.parametrize("name", ["table2.md", "table5.md", "pairs.md"])
def test_the_reproduction_is_made_from_its_rows(name, made):
    assert (ROOT / "results/reproduction" / name).read_text() == (made / name).read_text()


def test_the_comparison_of_conditionings_is_made_from_its_rows():
    command = [sys.executable, ROOT / "scripts/conditioning.py", "results/conditioning/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    tables = [table.partition("\n\n")[2].strip() for table in done.stdout.split("### ")[1:]]
    page = (ROOT / "docs/CONDITIONING.md").read_text()
    assert tables
    for table in tables:
        assert table in page
