import json

import pytest
from reporting.made_up import row

from dpi.errors import UserError
from dpi.reporting.frame import read_rows, read_runs, results

DPI = ("diffusion", "drunet", "dpi")


def only(runs) -> float:
    """The value of the only number that was measured."""
    found = results(read_rows(read_runs(runs)[0]))
    return found.value[found["eval"] != "architecture"].item()


def labels(runs, *columns):
    frame, _ = read_runs(runs)
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


def test_numbers_have_the_six_digits_that_results_csv_keeps(make_run, runs):
    rows = [row("mse", 0.0123456789), row("parameters", 127_803_112)]
    make_run(DPI, {"denoising": rows})
    found = results(read_rows(read_runs(runs)[0])).set_index("metric").value
    assert (found["mse"], found["parameters"]) == (0.0123457, 127_803_112)


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


def test_folders_without_names_or_settings_are_named(make_run, runs):
    make_run(DPI)
    (runs / "sweeps").mkdir()
    for name, text in (("old", "seed: 0\n"), ("older", "names: {data: avatars}\n"), ("empty", "")):
        (runs / name).mkdir()
        (runs / name / "config.yaml").write_text(text)
    found, unnamed = read_runs(runs)
    assert (len(found), unnamed) == (1, ["empty", "old", "older"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "[{"),
        ("config.yaml", "names: {}\nsettings: {}\n"),
        ("config.yaml", b"\xff\xfe\x00"),
        ("evaluation/denoising.json", "[{"),
        ("evaluation/denoising.json", "{}}"),
        ("evaluation/denoising.json", json.dumps([{"metric": "mse"}])),
        ("evaluation/denoising.json", json.dumps([row("mse", 1.0) | {"eval": "denoising"}])),
    ],
)
def test_a_damaged_file_is_named_in_one_line(make_run, runs, name, text):
    folder = make_run(DPI, {"denoising": [row("mse", 1.0)]})
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        read_rows(read_runs(runs)[0])
    assert str(error.value).startswith(f"{folder / name} cannot be read (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ['"a"', "[1]", "null"])
def test_a_value_that_is_no_number_is_damage(make_run, runs, value):
    folder = make_run(DPI, {"denoising": [row("mse", 1.0)]})
    path = folder / "evaluation" / "denoising.json"
    path.write_text(path.read_text().replace('"value": 1.0', f'"value": {value}'))
    with pytest.raises(UserError, match=r"denoising\.json cannot be read"):
        read_rows(read_runs(runs)[0])


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "a\\b", "a\0b", "a\nb"])
@pytest.mark.parametrize("key", ["data", "scale"])
def test_a_name_that_is_no_file_name_is_refused(make_run, runs, name, key):
    folder = make_run(DPI)
    path = folder / "config.yaml"
    old = {"data": "avatars", "scale": "mini"}[key]
    path.write_text(path.read_text().replace(f"{key}: {old}", f"{key}: {json.dumps(name)}"))
    with pytest.raises(UserError, match=rf"config\.yaml cannot be read \(names\.{key}="):
        read_runs(runs)
