"""Rows are read as they were written, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpi.errors import UserError
from dpi.runs.rows import Row, read_rows, table, write_rows

HEADER = {"run": "it", "step": 3}
ROWS = [Row("mse", 0.125, scalar=0, settings={"n": 8}), Row("mse", 0.25, 0.01, settings={"n": 8})]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "denoising.json"
    write_rows(path, HEADER, ROWS)
    return path


@given(st.data())
def test_no_damage_changes_a_row(path, data):
    whole, rows = path.read_bytes(), read_rows(path)
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = path.with_name("damaged.json")
    damaged.write_bytes(whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :])
    try:
        assert read_rows(damaged) == rows
    except ValueError:
        return
    damaged.write_bytes(whole[:at])
    with pytest.raises(ValueError):
        read_rows(damaged)


def test_a_row_replaces_its_like_and_keeps_the_others(tmp_path):
    path = tmp_path / "a.json"
    write_rows(path, HEADER, ROWS)
    write_rows(path, HEADER, [Row("mse", 0.5, scalar=0, settings={"n": 8}), Row("fid", 3.0)])
    assert [row["value"] for row in read_rows(path)] == [0.5, 0.25, 3.0]


@pytest.mark.parametrize("text", ["[{", "{}", "[1]", '{"mine": 1}', "\0"])
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
    text = table([Row("inception_score", 2.5, 0.25)])
    assert "2.5 ± 0.2" in text and "draws" not in text
    few = Row("mse", 0.125, 0.01, settings={"noise_seeds": 2})
    assert "±" not in table([few])
