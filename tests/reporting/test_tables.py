import pytest
from reporting.made_up import row, shown, tables_of

from dpi.reporting.notes import remarks, warnings

DPI = ("diffusion", "adm", "dpi")
TMAP = ("diffusion", "adm", "tmap")
MEAN = {"denoising": [row("mse", 0.1)]}


def objective(value, **settings):
    return {"objective": [row("objective", value, **settings)]}


def rows(table):
    """The rows of each block."""
    return {
        block: list(own.row.unique()) for block, own in table.cells.groupby("block", sort=False)
    }


def test_the_papers_own_numbers_give_the_papers_own_tables(papers_runs):
    found = tables_of(papers_runs)
    assert list(found) == ["table2", "table3", "table4", "table5", "ablations"]
    number, marks = 0, []
    for name in ("table2", "table3", "table4", "table5"):
        assert not list(warnings(found[name]))
        columns = found[name].spec.columns
        for _, own in found[name].cells.groupby(["block", "row"]):
            cells = {cell.column: cell for cell in own.itertuples()}
            for key, cell in cells.items():
                papers = cells.get(f"paper {key}")
                if papers is not None:
                    # Number and mark, with the digits that the paper prints.
                    ours = columns[key].show(cell.value)
                    assert (ours, cell.mark) == (columns[key].show(papers.value), papers.mark)
                    number += 1
                    marks.append(cell.mark)
    assert number == 9 * 5 + 14 * 4 + 7 * 3 + 4 * 2
    assert (marks.count("best"), marks.count("second")) == (10 + 16 + 4, 10 + 3 * 4)


def test_ones_own_data_is_ranked_without_the_papers_numbers(make_run, runs):
    for seed in range(2):
        for cond, value in (("dpi", 0.3), ("tmap", 0.2), ("own", 0.4)):
            make_run(("diffusion", "adm", cond), objective(value * (1 + seed / 100)), seed)
    make_run(("diffusion", "adm", "only"), {"fidelity": [row("fid", 12.0)]})
    make_run(("flow", "adm", "dpi"), objective(9.0))
    found = tables_of(runs, paper=False)
    assert list(found) == ["ranking"]
    # The best first, those without an error last; no row that was not measured.
    assert rows(found["ranking"]) == {
        "ADM, diffusion": ["t map", "DPI", "own", "only"],
        "ADM, flow": ["DPI"],
    }
    assert list(found["ranking"].cells.column.unique()) == ["objective", "change", "fid"]
    change = shown(found["ranking"], "ADM, diffusion", "DPI")["change"]
    # Of differences 0.1 and 0.101: in percent of 0.201, t of one degree 12.706.
    assert change == ("+50.00", "3.16")
    assert not any("paper" in line for line in remarks(found["ranking"]))


def test_a_row_is_the_mean_over_its_seeds_with_its_standard_error(make_run, runs):
    for seed, value in enumerate((0.010, 0.012, 0.017)):
        make_run(DPI, {"denoising": [row("mse", value)]}, seed)
    table = tables_of(runs)["table2"]
    cells = shown(table, "ADM, diffusion", "DPI")
    assert cells["mean"] == ("1.300e-2", "0.208e-2")
    assert cells["paper mean"] == ("1.772e-2", "")


def test_rows_of_the_paper_that_were_not_measured_are_there_in_measured_blocks(make_run, runs):
    make_run(TMAP, MEAN)
    table = tables_of(runs)["table2"]
    assert rows(table) == {"ADM, diffusion": ["NCSNv2", "σ map", "t map", "MLP", "DPI"]}
    cells = shown(table, "ADM, diffusion", "DPI")
    assert (cells["mean"][0], cells["paper mean"][0]) == ("–", "1.772e-2")  # noqa: RUF001


def test_another_protocol_has_a_block_of_its_own_and_nothing_is_missing(make_run, runs):
    # An older plain run, then a sweep whose runs all have a setting that it lacks.
    make_run(DPI, objective(1.0))
    sweep = {"data.held_out": 200}
    for framework in ("diffusion", "flow"):
        kind = (framework, "adm", "dpi")
        make_run(kind, objective(2.0), settings=sweep)
        make_run(kind, objective(3.0), settings=sweep | {"cond.schedule": "linear"})
    found = tables_of(runs)
    expected = {("ADM", "λ(s) = s"): "––", ("ADM", "λ learned"): "1.000e0–"}  # noqa: RUF001
    expected |= {("ADM; held_out = 200", "λ(s) = s"): "3.000e03.000e0"}
    expected |= {("ADM; held_out = 200", "λ learned"): "2.000e02.000e0"}
    for (block, name), text in expected.items():
        cells = shown(found["table5"], block, name)
        assert cells["diffusion"][0] + cells["flow"][0] == text
        # The paper's numbers are beside both.
        assert cells["paper flow"][0] == {"λ(s) = s": "1.191e-1", "λ learned": "1.086e-1"}[name]


def test_an_objective_comes_before_the_mean_error_in_its_place(make_run, runs):
    make_run(DPI, MEAN, seed=0)
    make_run(DPI, MEAN | objective(0.3), seed=1)
    cells = shown(tables_of(runs)["table5"], "ADM", "λ learned")
    assert cells["diffusion"] == ("2.000e-1", "1.000e-1")


def test_settings_of_the_model_label_its_row_and_the_paper_is_beside_the_plain_one(make_run, runs):
    make_run(TMAP, MEAN)
    make_run(TMAP, MEAN, settings={"arch.base_channels": 48})
    table = tables_of(runs)["table2"]
    assert rows(table)["ADM, diffusion"][2:4] == ["t map", "t map, base_channels = 48"]
    for name, papers in (("t map", "1.793e-2"), ("t map, base_channels = 48", "–")):  # noqa: RUF001
        assert shown(table, "ADM, diffusion", name)["paper mean"][0] == papers


def test_networks_and_conditionings_of_ones_own_have_their_place(make_run, runs):
    make_run(("diffusion", "mine", "own"), MEAN | {"complexity": [row("parameters", 2_000_000)]})
    found = tables_of(runs)
    for name, column in (("table2", "mean"), ("table4", "parameters")):
        assert rows(found[name]) == {"mine, diffusion": ["own"]}
        assert list(found[name].cells.column) == [column]  # none without a number


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ([3.0], [""]),
        ([3.0, 1.0], ["", "best"]),
        ([3.0, 1.0, 2.0], ["", "best", "second"]),
        ([1.0, 1.0, 2.0, 3.0], ["best", "best", "second", ""]),
        ([4.0, 1.0, 3.0, 2.0], ["", "best", "", "second"]),
    ],
)
def test_the_best_and_the_second_best_are_marked_if_there_are_others(make_run, runs, values, marks):
    kinds = [("diffusion", "own", cond) for cond in "abcd"]
    for kind, value in zip(kinds, values, strict=False):
        scores = [row("fid", value), row("recall", -value)]
        make_run(kind, {"fidelity": scores})
    table = tables_of(runs)["table3"]
    for column in ("fid", "recall"):  # lower is better, higher is better
        assert table.cells.mark[table.cells.column == column].tolist() == marks


def test_numbers_that_were_measured_otherwise_are_named(make_run, runs):
    over = row("mse", 1.0, noise_seeds=20, scalars=28)
    denoising = {"denoising": [over, row("mse", 1.0, 0, noise_seeds=20)]}
    make_run(DPI, denoising)
    make_run(DPI, denoising, seed=1)
    rows = {"denoising": [row("mse", 1.0, noise_seeds=2, scalars=28)]}
    other = make_run(TMAP, rows)
    first, *others = sorted(runs.iterdir())
    for folder in (first, *others):
        precision = "bf16-mixed" if folder == first else "32-true"
        with (folder / "config.yaml").open("a") as file:
            file.write(f"trainer: {{precision: {precision}}}\n")
    # Another block is not compared with this one.
    make_run(("diffusion", "drunet", "tmap"), {"denoising": [row("mse", 1.0, noise_seeds=7)]})
    table = tables_of(runs)["table2"]
    assert set(warnings(table)) == {
        f"ADM, diffusion: rows differ in noise seeds: 20 for most, 2 for {other.name}.",
        "ADM, diffusion: rows differ in training precision: 32-true for most, bf16-mixed for "
        f"{first.name}.",
    }
    _, paper, ours = remarks(table)
    assert paper == "Paper: FFHQ 64x64, 500,000 steps. Here: avatars, scale mini."
    assert "training steps 3,000, batch size 32, training precision" in ours
    assert ours.endswith(", scalars 28.")


def test_rows_of_other_versions_are_not_mixed_silently(make_run, runs):
    for seed in range(2):
        denoising = [row("mse", 1.0, scalars=28, mean="interpolated", pictures=8)]
        make_run(DPI, {"denoising": denoising}, seed)
    # An older mean had equal weights, whatever the scalars, and did not say so.
    old = make_run(TMAP, {"denoising": [row("mse", 1.0, scalars=28, pictures=8)]})
    assert list(warnings(tables_of(runs)["table2"])) == [
        f"ADM, diffusion: rows differ in mean: interpolated for most, – for {old.name}.",  # noqa: RUF001
        "Errors are of 8 held-out images; 500 are usual.",
    ]


def test_a_cell_of_fewer_seeds_is_named(make_run, runs):
    make_run(DPI, {"fidelity": [row("fid", 1.0), row("sfid", 1.0)]})
    make_run(DPI, {"fidelity": [row("fid", 1.0)]}, seed=1)
    assert list(warnings(tables_of(runs)["table3"])) == [
        "Seeds are missing in some columns: sFID ↓ of ADM, diffusion, DPI has 1."
    ]


def test_table_4_takes_runs_that_were_only_measured(make_run, runs):
    costs = {"complexity": [row("parameters", 2_000_000), row("gflops_true", 0.25)]}
    make_run(DPI, costs, settings={"tag": "cost"}, steps=1)
    cells = shown(tables_of(runs)["table4"], "ADM, diffusion; tag = cost", "DPI")
    assert {key: text for key, (text, _) in cells.items() if "paper" not in key} == {
        "parameters": "2.00",
        "memory": "–",  # noqa: RUF001
        "gflops": "–",  # noqa: RUF001
        "gflops_true": "0.250",
    }
    assert cells["paper parameters"][0] == "121.74"


def test_a_variant_is_compared_with_the_default_seed_by_seed(make_run, runs):
    # The mean error of the predicted noise is diffusion's objective.
    make_run(DPI, {"denoising": [row("mse", 1.0)]}, seed=0)
    make_run(DPI, objective(2.0), seed=1)
    sixteen, eight = ({"training.distinct_scalars": n} for n in (16, 8))
    make_run(DPI, objective(1.1), seed=0, settings=sixteen)
    make_run(DPI, objective(2.4), seed=1, settings=sixteen)
    make_run(DPI, objective(9.0), seed=2, settings=eight)
    table = tables_of(runs)["ablations"]
    (block,) = rows(table)
    assert rows(table)[block] == ["default", "distinct_scalars = 8", "distinct_scalars = 16"]
    # Differences 0.1 and 0.4 of 1.5: mean 0.25, standard error 0.15, t of one degree 12.706.
    assert shown(table, block, "distinct_scalars = 16")["change"] == ("+16.67", "127.06")
    # No seed in common.
    assert shown(table, block, "distinct_scalars = 8")["change"] == ("–", "")  # noqa: RUF001


def test_the_default_of_a_variant_has_the_most_of_its_settings(make_run, runs):
    held_out = {"data.held_out": 200}
    for settings in ({}, held_out, held_out | {"cond.init": "independent"}, {"cond.init": "x"}):
        make_run(DPI, objective(1.0), settings=settings)
    assert rows(tables_of(runs)["ablations"]) == {
        "ADM, diffusion, DPI": ["default", "held_out = 200", "init = x"],
        "ADM, diffusion, DPI; held_out = 200": ["default", "init = independent"],
    }
