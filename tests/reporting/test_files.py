import csv
import io
import re

import pytest

from dpi.reporting.collect import collect
from dpi.reporting.digits import fixed, scientific
from dpi.reporting.files import comma_separated, latex, markdown
from dpi.reporting.tables import tables


@pytest.fixture(scope="module")
def all_tables(papers_runs):
    return {table.name: table for table in tables(collect(papers_runs)[0])}


def test_csv_holds_what_was_measured_unrounded(all_tables):
    rows = list(csv.DictReader(io.StringIO(comma_separated(all_tables["table3"]))))
    row = next(r for r in rows if (r["block"], r["row"]) == ("ADM, diffusion", "DPI"))
    assert float(row["fid"]) == pytest.approx(8.32)
    assert float(row["fid_se"]) == pytest.approx(8.32 * 0.001)
    assert (row["fid_paper"], row["seeds"]) == ("8.32", "2")


def test_markdown_marks_the_best_and_keeps_its_columns(all_tables):
    for table in all_tables.values():
        lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        assert len({len(line) for line in lines}) == 1
    text = markdown(all_tables["table3"])
    assert "**8.32** ± 0.01 |" in text
    assert "| *0.667* ± 0.001 |" in re.sub(" +", " ", text)


def test_latex_has_as_many_cells_in_every_row_and_nothing_unescaped(all_tables):
    for table in all_tables.values():
        text = latex(table)
        assert text.isascii()
        assert not re.search(r"(?<!\\)[_%#]", text)
        assert text.count("{") == text.count("}")
        columns = len(re.search(r"tabular}{(l*r*)}", text)[1])
        body = [line for line in text.splitlines() if line.endswith(r"\\")]
        for line in body:
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn{(\d)}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == columns


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.5282, 0.0012, ("5.282e-1", "0.012e-1")),
        (7.854e-5, None, ("7.854e-5", "")),
        (9.9999e-2, 1e-9, ("1.000e-1", "1e-09")),
        (12.0, 0.5, ("1.200e1", "0.050e1")),
        (float("nan"), None, ("nan", "")),
    ],
)
def test_scientific(value, error, shown):
    assert scientific(value, error) == shown


def test_fixed_keeps_the_papers_digits_and_small_values_readable():
    assert fixed(2)(127.8, None) == ("127.80", "")
    assert fixed(2, 3)(0.05234, 0.0001) == ("0.0523", "0.0001")
    assert fixed(2)(12.3, 0.001) == ("12.30", "0.001")
