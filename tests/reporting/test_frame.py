import json

import pandas as pd
import pytest
from reporting.made_up import results_of, row, write_log

from dpi.reporting.explorer import read_losses
from dpi.reporting.frame import read_folder

DPI = ("diffusion", "drunet", "dpi")


def only(runs) -> float:
    """The value of the only number that was measured."""
    return results_of(runs)[1].value.item()


def labels(runs, *columns):
    frame, _ = results_of(runs)
    return [tuple(of) for of in frame[list(columns)].itertuples(index=False)]


def test_the_last_step_and_its_last_weights_count(make_run, runs):
    for step, weights, value in ((4000, "old", 3.0), (5000, "wrong", 2.0), (5000, "right", 1.0)):
        make_run(DPI, {"denoising": [row("mse", value)]}, step=step, weights=weights)
    assert only(runs) == 1.0


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
    assert set(labels(runs, "network", "model", "block")) == {
        ("DRUNet", "DPI, schedule = linear", "DRUNet, diffusion; held_out = 200"),
        ("DRUNet, channels = 23, 45", "t map, channels = 23, 45", "DRUNet, diffusion; tag = wide"),
        ("DRUNet", "t map", "DRUNet, diffusion; tag = wide"),
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
    ("name", "text"),
    [
        ("config.yaml", "[{"),
        ("config.yaml", "names: {}\nsettings: {}\n"),
        ("config.yaml", "seed: 0\n"),
        ("config.yaml", b"\xff\xfe\x00"),
        ("evaluation/denoising.json", "[{"),
        ("evaluation/denoising.json", "{}}"),
        ("evaluation/denoising.json", json.dumps([row("mse", 1.0) | {"eval": "denoising"}])),
        *(("evaluation/denoising.json", value) for value in ('"a"', "[1]", "null")),
        ("log/version_0/metrics.csv", "step,val_loss\n1,a\n"),
        ("log/version_0/metrics.csv", "1,2\n"),
    ],
)
def test_a_damaged_file_is_named_in_one_line_and_the_others_are_read(make_run, runs, name, text):
    folder = make_run(DPI, {"denoising": [row("mse", 1.0)]})
    make_run(DPI, {"denoising": [row("mse", 1.0)]}, seed=1)
    path = folder / name
    if text in ('"a"', "[1]", "null"):
        text = path.read_text().replace('"value": 1.0', f'"value": {text}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    damaged = {}
    found, rows = read_folder(runs, damaged)
    read_losses(found, damaged)
    assert list(damaged) == [path]
    assert damaged[path].startswith(f"{path} cannot be read (") and "\n" not in damaged[path]
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
