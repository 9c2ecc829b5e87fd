import io
import re

import pandas as pd
import pytest
import yaml
from reporting.made_up import row, tables_of

from dpi.reporting.formats import markdown, printed, printed_pairs
from dpi.reporting.tables import differences

HOSTILE = r"a|b_&%$#{}~^\input{x} <script>"


@pytest.fixture(scope="module")
def tables(papers_runs):
    found = tables_of(papers_runs)
    pairs = printed_pairs(differences(found.values()), "What came out.")
    return {name: printed(table) for name, table in found.items()} | {"pairs": pairs}


@pytest.fixture
def hostile(make_run, runs):
    """A table with a block, a row and a note of hostile names."""
    folder = make_run(("diffusion", "adm", "own"), {"denoising": [row("mse", 1, solver=HOSTILE)]})
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["settings"] = {"tag": HOSTILE, "cond.x": HOSTILE}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return printed(tables_of(runs)["table2"])


def body(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_markdown_marks_the_best_and_keeps_its_columns(tables):
    for table in tables.values():
        lines = body(markdown(table))
        assert len({line.count("|") for line in lines}) == 1
        assert len({len(line) for line in lines}) == 1
    text = markdown(tables["table3"])
    assert text.startswith("## Table 3: quality of the samples\n\nGenerated samples")
    assert "**8.32** ± 0.01 |" in text
    assert "| *0.667* ± 0.001 |" in re.sub(" +", " ", text)
    assert "\n- Paper: FFHQ 64x64" in text
    assert "\n- Measured with: training steps 3,000" in text


def test_markdown_survives_hostile_names(hostile):
    lines = body(markdown(hostile))
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    shown = r"a\|b\_\&%$#{}\~^\\input{x} \<script\>"
    assert shown in lines[-1] + lines[2]
    assert "<script>" not in markdown(hostile).replace(r"\<script", "")


def test_paired_differences_in_markdown(tables):
    lines = body(markdown(tables["pairs"]))
    assert len(lines) == 2 + len(tables["pairs"].numbers) == 2 + 35 + 40 + 4
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    start = next(i for i, cells in enumerate(rows) if cells[0] == "Table 3; ADM, diffusion")
    cells = next(cells for cells in rows[start:] if cells[1:3] == ["DPI against MLP", "recall ↑"])
    assert (cells[3:5], cells[7]) == (["2", "+10.23"], "better")
    low, high = map(float, cells[5].split(" to "))
    assert low < 10.23 < high


def test_a_tables_csv_is_unrounded(tables):
    cells = pd.read_csv(io.StringIO(tables["table3"].numbers.to_csv(index=False)))
    cells = cells[(cells.block == "ADM, diffusion") & (cells.row == "DPI")].set_index("column")
    assert cells.value["fid"] == pytest.approx(8.32)
    assert cells.error["fid"] == pytest.approx(8.32 * 0.001)
    assert (cells.value["paper fid"], cells.seeds["fid"]) == (8.32, 2)
