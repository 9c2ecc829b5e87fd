import re

import pandas as pd
import pytest
from reporting.made_up import (
    results_of,
    row,
    rows_of,
    save_checkpoint,
    save_split,
    tables_of,
    write_log,
)

from dpi.reporting.frame import read_folder, read_losses
from dpi.reporting.tables import differences

DPI = ("diffusion", "drunet", "dpi")


def only(runs) -> float:
    """The value of the only number that was measured."""
    return results_of(runs)[1].value.item()


def labels(runs, *columns):
    frame, _ = results_of(runs)
    return [tuple(of) for of in frame[list(columns)].itertuples(index=False)]


@pytest.mark.parametrize(
    ("rows", "counts", "named"),
    [
        # Back to a kept checkpoint, and evaluated there: the larger step is gone.
        ([(5000, "old", "before"), (4000, "new", "now")], 4000, True),
        # Gone back, trained on from there or not, and not evaluated again.
        ([(5000, "old", "before")], None, True),
        # An earlier version did not say of which checkpoint its rows are.
        ([(5000, "old", None), (4000, "new", "now")], 4000, True),
        ([(4000, "new", None), (4000, "new", "now")], 4000, False),
        ([(4000, "old", None), (5000, "wrong", None), (5000, "new", None)], 5000, False),
    ],
)
def test_rows_of_weights_that_are_gone_do_not_count(make_run, runs, rows, counts, named):
    last = save_checkpoint(make_run(DPI))
    for step, weights, checkpoint in rows:
        value = 1.0 if weights == "new" else 2.0
        header = {"step": step, "weights": weights}
        header["checkpoint"] = last if checkpoint == "now" else checkpoint
        make_run(DPI, {"denoising": [row("mse", value)]}, **header)
    found = results_of(runs)[1]
    assert found.step.tolist() == ([] if counts is None else [counts])
    assert set(found.value) <= {1.0}
    why = "rows of other weights than those of its last.ckpt"
    assert (why in set(rows_of(runs).left_out)) == named


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ({"run": "avatars-diffusion-drunet-dpi-mini-seed0"}, [1.0]),  # its rows were copied
        (
            {"weights": "avatars-diffusion-drunet-dpi-mini-seed0"},
            [],
        ),  # its checkpoint: which is it?
        # It had this name, and another run has it now.
        ({"run": "avatars-diffusion-drunet-dpi-mini-seed0", "checkpoint": "now"}, [1.0, 2.0]),
    ],
)
def test_another_runs_numbers_are_no_second_seed(make_run, runs, header, value):
    make_run(DPI, {"denoising": [row("mse", 1.0)]})
    if "checkpoint" in header:
        header = header | {"checkpoint": save_checkpoint(make_run(DPI, seed=1))}
    make_run(DPI, {"denoising": [row("mse", 2.0)]}, seed=1, **header)
    assert results_of(runs)[1].value.tolist() == value


def test_runs_on_other_images_or_splits_are_not_compared(make_run, runs):
    for cond, seed, images, held_out in (
        ("dpi", 0, "0123456789", [1, 2]),
        ("tmap", 0, "0123456789", [1, 2]),
        ("tmap", 1, "9876543210", [1, 2]),
        ("dpi", 1, "0123456789", [2, 3]),
    ):
        folder = make_run(("flow", "adm", cond), {"objective": [row("objective", 1.0)]}, seed)
        save_split(folder, images, held_out)
    found = labels(runs, "block", "model")
    assert len({block for block, _ in found}) == 3
    assert re.fullmatch(r"ADM, flow; images 01234567, split [0-9a-f]{8}", found[0][0])
    assert differences(tables_of(runs, paper=False).values()).seeds.tolist() == [1]


def test_the_most_thorough_row_counts_wherever_it_is(make_run, runs):
    thorough = row("mse", 1.0, scalars=1000, noise_seeds=2)
    quick = row("mse", 2.0, scalars=28, noise_seeds=20)
    unknown = row("mse", 4.0)
    rows = [quick, thorough, row("mse", 3.0, scalars=1000, noise_seeds=1), unknown]
    make_run(DPI, {"denoising": rows})
    assert only(runs) == 1.0


@pytest.mark.parametrize("header", [{"finished": False}, {"step": 2999}])
def test_rows_from_before_the_end_of_the_training_do_not_count(make_run, runs, header):
    # The second: the run was finished when it was evaluated, and has been extended since.
    make_run(DPI, {"denoising": [row("mse", 1.0)]}, **header)
    make_run(DPI, {"objective": [row("objective", 2.0)]})
    assert only(runs) == 2.0


def test_settings_belong_to_the_model_or_to_the_protocol(make_run, runs):
    make_run(DPI, settings={"cond.schedule": "linear", "data.held_out": 200})
    tmap = ("diffusion", "drunet", "tmap")
    make_run(tmap, settings={"arch.channels": [23, 45], "tag": "wide"})
    make_run(tmap, settings={"tag": "wide"})
    assert set(labels(runs, "model", "block")) == {
        ("DPI, schedule = linear", "DRUNet, diffusion; held_out = 200"),
        ("t map, channels = 23, 45", "DRUNet, diffusion; tag = wide"),
        ("t map", "DRUNet, diffusion; tag = wide"),
    }


def test_what_all_networks_of_a_block_have_is_no_part_of_their_names(make_run, runs):
    wide = {"arch.channels": [23, 45], "arch.dropout": 0}
    make_run(DPI, settings=wide)
    make_run(("diffusion", "drunet", "tmap"), settings=wide)
    make_run(("diffusion", "drunet", "tmap"), settings=wide | {"arch.num_blocks": 1})
    make_run(("flow", "drunet", "tmap"))
    block = "DRUNet, diffusion; channels = 23, 45, dropout = 0"
    assert set(labels(runs, "model", "block")) == {
        ("DPI", block),
        ("t map", block),
        ("t map, num_blocks = 1", block),
        ("t map", "DRUNet, flow"),
    }


def test_settings_that_end_alike_keep_their_whole_key(make_run, runs):
    make_run(DPI, settings={"data.seed": 1})
    make_run(DPI, settings={"split.seed": 1})
    make_run(DPI, settings={"training.schedule": "cosine"})
    make_run(DPI, settings={"cond.schedule": "linear"})
    assert {of for pair in labels(runs, "model", "protocol") for of in pair} == {
        "DPI",
        "DPI, schedule = linear",
        "",
        "data.seed = 1",
        "split.seed = 1",
        "training.schedule = cosine",
    }


def test_runs_come_in_the_order_of_the_tables(make_run, runs):
    for sets in (16, 8):
        make_run(DPI, settings={"cond.num_sets": sets})
    make_run(DPI, settings={"data.held_out": 200})
    make_run(("flow", "drunet", "mine"))
    make_run(("diffusion", "adm", "dpi"))
    make_run(("diffusion", "drunet", "mlp"))
    make_run(("diffusion", "own", "dpi"))
    assert labels(runs, "block", "model") == [
        ("DRUNet, diffusion", "MLP"),
        ("DRUNet, diffusion", "DPI, num_sets = 8"),
        ("DRUNet, diffusion", "DPI, num_sets = 16"),
        ("DRUNet, flow", "mine"),
        ("ADM, diffusion", "DPI"),
        ("own, diffusion", "DPI"),
        ("DRUNet, diffusion; held_out = 200", "DPI"),
    ]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("config.yaml", ".*", "[{"),
        ("config.yaml", ".*", ""),
        ("config.yaml", "names:", "others:"),
        ("config.yaml", "seed: 0", "seed: .inf"),
        ("config.yaml", "steps: 3000", "steps: 1e999"),
        ("config.yaml", "steps: 3000", "steps: many"),
        ("config.yaml", "data: avatars", "data: ../../x"),
        ("evaluation/denoising.json", ".*", "[{"),
        ("evaluation/denoising.json", ".*", "[" * 100_000),
        ("evaluation/denoising.json", '"weights"', '"others"'),
        ("evaluation/denoising.json", '"mse"', '"\\\\ud800"'),
        *(
            ("evaluation/denoising.json", "1.0", of)
            for of in ('"a"', "[1]", "null", "1e999", "NaN")
        ),
        ("log/version_0/metrics.csv", "", "step,val_loss\n1,a\n"),
        ("log/version_0/metrics.csv", "", "step,val_loss\nfirst,1\n"),
        ("log/version_0/metrics.csv", "", "1,2\n"),
        ("split.json", "", "{}"),
    ],
)
def test_a_damaged_file_is_named_in_one_line_and_the_others_are_read(
    make_run, runs, name, old, new
):
    folder = make_run(DPI, {"denoising": [row("mse", 1.0)]})
    make_run(DPI, {"denoising": [row("mse", 1.0)]}, seed=1)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else ""
    path.write_text(re.sub(old, new, text, count=1, flags=re.DOTALL))
    damaged = {}
    found, rows = read_folder(runs, damaged)
    read_losses(found, damaged)
    (said,) = damaged.values()
    assert re.match(r".*cannot be read \(", said) and name in said and "\n" not in said
    assert "avatars-diffusion-drunet-dpi-mini-seed1" in set(rows.run)


def test_later_sessions_overwrite_the_losses_of_steps_that_they_did_again(make_run, runs):
    folder = make_run(DPI)
    write_log(folder, 9, {1: (5.0, 6.0), 2: (4.0, 5.0)})
    write_log(folder, 10, {2: (3.0, 2.0), 3: (1.0, 0.5)})
    (folder / "log" / "version_11").mkdir()
    (folder / "log" / "version_11" / "metrics.csv").touch()  # only just started
    found = read_losses(results_of(runs)[0], {})
    assert found.set_index("scalar").value.to_dict() == {1: 6.0, 2: 2.0, 3: 0.5}
    assert read_losses(pd.DataFrame(index=["a run that is known by its numbers alone"]), {}).empty
