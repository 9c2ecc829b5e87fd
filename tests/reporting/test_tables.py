import pytest

from dpi.evaluation.rows import Row
from dpi.reporting.collect import collect
from dpi.reporting.entries import entries
from dpi.reporting.tables import tables
from dpi.reporting.verdict import verdicts

DPI = ("diffusion", "adm", "dpi")
TMAP = ("diffusion", "adm", "tmap")


def made(runs):
    return {table.name: table for table in tables(collect(runs)[0])}


def warnings(table):
    return [note.text for note in table.notes if note.warning]


def objective(value, **settings):
    return {"objective": [Row("objective", value, settings={"noise_seeds": 2} | settings)]}


def test_the_papers_own_numbers_give_the_papers_own_tables(papers_runs):
    found = made(papers_runs)
    assert list(found) == ["table1", "table2", "table3", "table4", "table5", "ablations"]
    for name in ("table2", "table3", "table4", "table5"):
        table = found[name]
        assert not warnings(table)
        for block in table.blocks:
            for row in entries(table, block).values():
                for ours, paper in row:
                    # Text and mark, with the digits that the paper prints.
                    assert paper is None or (ours.text, ours.rank) == (paper.text, paper.rank)
        for verdict in verdicts(table):
            assert verdict.all.same


def test_a_row_is_the_mean_over_its_seeds_with_its_standard_error(make_run, tmp_path):
    for seed, value in enumerate((0.010, 0.012, 0.017)):
        make_run(DPI, {"denoising": [Row("mse", value)]}, seed)
    (block,) = made(tmp_path / "runs")["table2"].blocks
    ours = entries(made(tmp_path / "runs")["table2"], block)["dpi"][-1].ours
    assert (ours.text, ours.error) == ("1.300e-2", "0.208e-2")
    assert block.lines["dpi"].seeds == [0, 1, 2]
    # What is printed and not measured is there, and says so.
    assert block.lines["mlp"].seeds == []


def test_what_was_measured_otherwise_is_said(make_run, tmp_path):
    make_run(DPI, {"denoising": [Row("mse", 1.0, settings={"noise_seeds": 20})]})
    make_run(DPI, {"denoising": [Row("mse", 1.0, settings={"noise_seeds": 20})]}, seed=1)
    other = make_run(TMAP, {"denoising": [Row("mse", 1.0, settings={"noise_seeds": 2})]})
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("steps: 3000", "steps: 100"))
    assert warnings(made(tmp_path / "runs")["table2"]) == [
        f"These rows differ in noise seeds: 20 for most, 2 for {other.name}.",
        f"These rows differ in steps of training: 3,000 for most, 100 for {other.name}.",
    ]


def test_a_cell_of_fewer_seeds_is_said(make_run, tmp_path):
    make_run(DPI, {"fidelity": [Row("fid", 1.0), Row("sfid", 1.0)]})
    make_run(DPI, {"fidelity": [Row("fid", 1.0)]}, seed=1)
    assert warnings(made(tmp_path / "runs")["table3"]) == [
        "Seeds are missing: sFID ↓ of ADM, diffusion DPI has 1 of 2."
    ]


def test_table_4_takes_runs_that_were_only_measured(make_run, tmp_path):
    rows = {"complexity": [Row("parameters", 2_000_000), Row("gflops_true", 0.25)]}
    make_run(DPI, rows, variant="cost")
    table = made(tmp_path / "runs")["table4"]
    parameters, memory, _, true = entries(table, table.blocks[0])["dpi"]
    assert (parameters.ours.text, parameters.paper.text) == ("2.00", "121.74")
    assert (memory.ours.text, true.ours.text, true.paper) == ("–", "0.250", None)  # noqa: RUF001


def test_table_1_counts_what_the_configuration_says(papers_runs):
    lines = made(papers_runs)["table1"].blocks[0].lines
    ours = {key: cell.ours[0] for key, cell in lines["adm"].cells.items()}
    assert ours == {
        "parameters": pytest.approx(60.87),
        "residual_blocks": 1,
        "base_channels": 32,
        "heads": 4,
        "head_channels": 16,
        "attention": 4,
    }


def test_a_variant_is_held_against_the_plain_run_seed_by_seed(make_run, tmp_path):
    # The mean error of the predicted noise is diffusion's objective.
    make_run(DPI, {"denoising": [Row("mse", 1.0, settings={"noise_seeds": 2})]}, seed=0)
    make_run(DPI, objective(2.0), seed=1)
    make_run(DPI, objective(1.1), seed=0, variant="distinct_scalars_16")
    make_run(DPI, objective(2.4), seed=1, variant="distinct_scalars_16")
    make_run(DPI, objective(9.0), seed=2, variant="distinct_scalars_8")
    table = made(tmp_path / "runs")["ablations"]
    (block,) = table.blocks
    assert [line.title for line in block.lines.values()] == [
        "default",
        "distinct_scalars_8",
        "distinct_scalars_16",
    ]
    change = {key: row[1].ours for key, row in entries(table, block).items()}
    assert change["distinct_scalars_16"][:2] == ("+15.00", "5.00")
    assert change["distinct_scalars_8"].text == "–"  # noqa: RUF001 - no seed in common


def test_a_network_of_ones_own_has_its_block(make_run, tmp_path):
    folder = make_run(DPI, {"denoising": [Row("mse", 1.0)]})
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("  arch: adm\n", "  arch: mine\n"))
    (block,) = made(tmp_path / "runs")["table2"].blocks
    assert (block.title, list(block.lines)) == ("mine, diffusion", ["dpi"])
