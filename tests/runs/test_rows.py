"""Rows are read as they were written, or not at all."""

import json
from dataclasses import asdict

import pytest

from dpi.errors import UserError
from dpi.evaluation.text import as_text
from dpi.runs.rows import Row, read_rows, write_rows

HEADER = {"run": "it", "step": 3}
ROWS = [Row("mse", 0.125, scalar=0, settings={"n": 8}), Row("mse", 0.25, 0.01, settings={"n": 8})]


def test_a_row_replaces_its_like_and_keeps_the_others(tmp_path):
    path = tmp_path / "a.json"
    write_rows(path, {"crc32": 1, **HEADER}, ROWS)  # as an earlier version did
    assert read_rows(path) == [HEADER | asdict(row) for row in ROWS]
    write_rows(
        path,
        HEADER | {"images": "1f", "split": "2e"},
        [Row("mse", 0.5, scalar=0, settings={"n": 8}), Row("fid", 3.0)],
    )
    # The newest come last.
    assert [row["value"] for row in read_rows(path)] == [0.25, 0.5, 3.0]


@pytest.mark.parametrize("text", ["[{", "{}", "[1]", '[{"mine": 1}]', "\0", ""])
def test_a_file_of_something_else_is_moved_aside(tmp_path, capsys, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    write_rows(path, HEADER, ROWS)
    assert len(read_rows(path)) == 2
    assert (tmp_path / "a.json.damaged").read_text() == text
    assert f"warning: {path} was damaged" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_no_row(tmp_path, value):
    path = tmp_path / "a.json"
    write_rows(path, HEADER, ROWS)
    before = json.loads(path.read_text())
    with pytest.raises(UserError, match=r"a\.json: fid is"):
        write_rows(path, HEADER, [Row("fid", value)])
    assert json.loads(path.read_text()) == before


def test_a_standard_error_that_is_not_over_draws_is_not_called_so():
    text = as_text([Row("inception_score", 2.5, 0.25)])
    assert "2.5 ± 0.2" in text and "draws" not in text
    few = Row("mse", 0.125, 0.01, settings={"noise_seeds": 2})
    assert "±" not in as_text([few])
