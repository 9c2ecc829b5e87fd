from math import isnan

import pytest
from reporting.made_up import row, shown, tables_of

from dpi.reporting.notes import remarks, warnings

DPI = ("diffusion", "adm", "dpi")
TMAP = ("diffusion", "adm", "tmap")
MEAN = {"denoising": [row("mse", 0.1)]}


def objective(value, **settings):
    return {"objective": [row("objective", value, **settings)]}


def printed(table):
    """(number, error) of ours in each block, row and column."""
    return {
        block: {row: [cell.ours for cell in cells] for row, cells in rows.items()}
        for block, rows in table.layout.items()
    }


def test_the_papers_own_numbers_give_the_papers_own_tables(papers_runs):
    found = tables_of(papers_runs)
    assert list(found) == ["table1", "table2", "table3", "table4", "table5", "ablations"]
    cells = [
        cell
        for name in ("table2", "table3", "table4", "table5")
        for rows in found[name].layout.values()
        for own in rows.values()
        for cell in own
        if found[name].paired[cell.column]
    ]
    assert len(cells) == 9 * 5 + 14 * 4 + 7 * 3 + 4 * 2
    for cell in cells:
        # Number and mark, with the digits that the paper prints.
        assert cell.ours[0] == cell.papers[0]
        assert cell.rank == cell.paper_rank or (isnan(cell.rank) and isnan(cell.paper_rank))
    marks = [cell.paper_rank for cell in cells if cell.paper_rank in (1, 2)]
    assert (marks.count(1), marks.count(2)) == (10 + 16 + 4, 10 + 3 * 4)
    for name in ("table2", "table3", "table4", "table5"):
        assert not list(warnings(found[name]))


def test_a_row_is_the_mean_over_its_seeds_with_its_standard_error(make_run, runs):
    for seed, value in enumerate((0.010, 0.012, 0.017)):
        make_run(DPI, {"denoising": [row("mse", value)]}, seed)
    table = tables_of(runs)["table2"]
    cell = shown(table, "ADM, diffusion", "DPI", "mean")
    assert (cell.ours, cell.papers[0]) == (("1.300e-2", "0.208e-2"), "1.772e-2")
    assert sorted(table.runs["ADM, diffusion", "DPI"].values()) == [0, 1, 2]


def test_rows_of_the_paper_that_were_not_measured_are_there_in_measured_blocks(make_run, runs):
    make_run(TMAP, MEAN)
    table = tables_of(runs)["table2"]
    assert {block: list(rows) for block, rows in table.layout.items()} == {
        "ADM, diffusion": ["NCSNv2", "σ map", "t map", "MLP", "DPI"]
    }
    cell = shown(table, "ADM, diffusion", "DPI", "mean")
    assert (cell.ours[0], cell.papers[0]) == ("–", "1.772e-2")  # noqa: RUF001


def test_another_protocol_has_a_block_of_its_own_and_nothing_is_missing(make_run, runs):
    # An older plain run, then a sweep whose runs all have a setting that it lacks.
    make_run(DPI, objective(1.0))
    sweep = {"data.held_out": 200}
    for framework in ("diffusion", "flow"):
        kind = (framework, "adm", "dpi")
        make_run(kind, objective(2.0), settings=sweep)
        make_run(kind, objective(3.0), settings=sweep | {"cond.schedule": "linear"})
    found = tables_of(runs)
    assert printed(found["table5"]) == {
        "ADM": {
            "λ(s) = s": [("–", ""), ("–", "")],  # noqa: RUF001
            "λ learned": [("1.000e0", ""), ("–", "")],  # noqa: RUF001
        },
        "ADM; held_out = 200": {
            "λ(s) = s": [("3.000e0", ""), ("3.000e0", "")],
            "λ learned": [("2.000e0", ""), ("2.000e0", "")],
        },
    }
    # The paper's numbers are beside both.
    for block in ("ADM", "ADM; held_out = 200"):
        assert shown(found["table5"], block, "λ learned", "flow").papers[0] == "1.086e-1"


def test_an_objective_comes_before_the_mean_error_in_its_place(make_run, runs):
    make_run(DPI, MEAN, seed=0)
    make_run(DPI, MEAN | objective(0.3), seed=1)
    cell = shown(tables_of(runs)["table5"], "ADM", "λ learned", "diffusion")
    assert cell.ours == ("2.000e-1", "1.000e-1")


def test_settings_of_the_model_label_its_row_and_the_paper_is_beside_the_plain_one(make_run, runs):
    make_run(TMAP, MEAN)
    make_run(TMAP, MEAN, settings={"arch.base_channels": 48})
    rows = tables_of(runs)["table2"].layout["ADM, diffusion"]
    assert list(rows)[2:4] == ["t map", "t map, base_channels = 48"]
    assert [rows[row][-1].papers[0] for row in list(rows)[2:4]] == ["1.793e-2", "–"]  # noqa: RUF001


def test_networks_and_conditionings_of_ones_own_have_their_place(make_run, runs):
    make_run(("diffusion", "mine", "own"), MEAN | {"complexity": [row("parameters", 2_000_000)]})
    found = tables_of(runs)
    for name in ("table2", "table4"):
        assert list(found[name].layout) == ["mine, diffusion"]
        assert list(found[name].layout["mine, diffusion"]) == ["own"]
    assert not any(found["table2"].paired.values())


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ([3.0], [None]),
        ([3.0, 1.0], [None, 1]),
        ([3.0, 1.0, 2.0], [None, 1, 2]),
        ([1.0, 1.0, 2.0, 3.0], [1, 1, 2, None]),
        ([4.0, 1.0, 3.0, 2.0], [None, 1, None, 2]),
    ],
)
def test_the_best_and_the_second_best_are_marked_if_there_are_others(make_run, runs, values, ranks):
    kinds = [("diffusion", "own", cond) for cond in "abcd"]
    for kind, value in zip(kinds, values, strict=False):
        scores = [row("fid", value), row("recall", -value)]
        make_run(kind, {"fidelity": scores})
    table = tables_of(runs)["table3"]
    for column in ("fid", "recall"):  # lower is better, higher is better
        cells = [shown(table, "own, diffusion", cond, column) for cond in "abcd"[: len(values)]]
        assert [None if isnan(cell.rank) else cell.rank for cell in cells] == ranks


def test_numbers_that_were_measured_otherwise_are_named(make_run, runs):
    denoising = {"denoising": [row("mse", 1.0, noise_seeds=20)]}
    make_run(DPI, denoising)
    make_run(DPI, denoising, seed=1)
    other = make_run(TMAP, {"denoising": [row("mse", 1.0, noise_seeds=2)]}, steps=100)
    # Another block is not compared with this one.
    make_run(("diffusion", "drunet", "tmap"), {"denoising": [row("mse", 1.0, noise_seeds=7)]})
    table = tables_of(runs)["table2"]
    assert list(warnings(table)) == [
        f"ADM, diffusion: rows differ in training steps: 3,000 for most, 100 for {other.name}.",
        f"ADM, diffusion: rows differ in noise seeds: 20 for most, 2 for {other.name}.",
    ]
    paper, ours = remarks(table)
    assert paper.endswith("of FFHQ 64x64 and 500,000 steps, ours are of avatars at scale mini.")
    assert "training steps 3,000 / 100, batch size 32, noise seeds" in ours


def test_a_mean_of_an_older_version_is_not_mixed_with_others_silently(make_run, runs):
    """It had equal weights, whatever the scalars, and did not say so."""
    now = {"denoising": [row("mse", 1.0, scalars=28, mean="interpolated")]}
    make_run(DPI, now)
    make_run(DPI, now, seed=1)
    old = make_run(TMAP, {"denoising": [row("mse", 1.0, scalars=28)]})
    table = tables_of(runs)["table2"]
    assert list(warnings(table)) == [
        f"ADM, diffusion: rows differ in mean: interpolated for most, – for {old.name}."  # noqa: RUF001
    ]
    assert list(remarks(table))[1].endswith("scalars 28, mean interpolated.")


def test_a_cell_of_fewer_seeds_is_named(make_run, runs):
    make_run(DPI, {"fidelity": [row("fid", 1.0), row("sfid", 1.0)]})
    make_run(DPI, {"fidelity": [row("fid", 1.0)]}, seed=1)
    assert list(warnings(tables_of(runs)["table3"])) == [
        "Seeds are missing in some columns: sFID ↓ of ADM, diffusion, DPI has 1."
    ]


def test_table_4_takes_runs_that_were_only_measured(make_run, runs):
    rows = {"complexity": [row("parameters", 2_000_000), row("gflops_true", 0.25)]}
    make_run(DPI, rows, settings={"tag": "cost"}, steps=1)
    cells = tables_of(runs)["table4"].layout["ADM, diffusion; tag = cost"]["DPI"]
    assert [cell.ours[0] for cell in cells] == ["2.00", "–", "–", "0.250"]  # noqa: RUF001
    assert cells[0].papers[0] == "121.74"


def test_table_4_says_why_the_papers_count_may_be_above_all_operations(papers_runs):
    said = {
        name: any("transposed" in line for line in remarks(t))
        for name, t in tables_of(papers_runs).items()
    }
    assert [name for name, of in said.items() if of] == ["table4"]


def test_table_1_has_what_the_configuration_says(papers_runs):
    table = tables_of(papers_runs)["table1"]
    numbers = [cell.ours[0] for cell in table.layout[""]["ADM"]]
    assert numbers == ["60.9", "1", "32", "4", "16", "4"]
    assert [cell.ours[0] for cell in table.layout[""]["DRUNet"]][:3] == ["63.9", "2", "16"]


def test_a_variant_is_compared_with_the_default_seed_by_seed(make_run, runs):
    # The mean error of the predicted noise is diffusion's objective.
    make_run(DPI, {"denoising": [row("mse", 1.0)]}, seed=0)
    make_run(DPI, objective(2.0), seed=1)
    sixteen, eight = ({"training.distinct_scalars": n} for n in (16, 8))
    make_run(DPI, objective(1.1), seed=0, settings=sixteen)
    make_run(DPI, objective(2.4), seed=1, settings=sixteen)
    make_run(DPI, objective(9.0), seed=2, settings=eight)
    rows = printed(tables_of(runs)["ablations"])["ADM, diffusion, DPI"]
    assert list(rows) == ["default", "distinct_scalars = 8", "distinct_scalars = 16"]
    # Differences 0.1 and 0.4 of 1.5: mean 0.25, standard error 0.15, t of one degree 12.706.
    assert rows["distinct_scalars = 16"][1] == ("+16.67", "127.06")
    assert rows["distinct_scalars = 8"][1] == ("–", "")  # noqa: RUF001 - no seed in common


def test_the_default_of_a_variant_has_the_most_of_its_settings(make_run, runs):
    held_out = {"data.held_out": 200}
    for settings in ({}, held_out, held_out | {"cond.init": "independent"}, {"cond.init": "x"}):
        make_run(DPI, objective(1.0), settings=settings)
    rows = {block: list(rows) for block, rows in tables_of(runs)["ablations"].layout.items()}
    assert rows == {
        "ADM, diffusion, DPI": ["default", "held_out = 200", "init = x"],
        "ADM, diffusion, DPI; held_out = 200": ["default", "init = independent"],
    }
