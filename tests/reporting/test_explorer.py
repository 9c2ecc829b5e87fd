import json

import pandas as pd
import pytest
from reporting.made_up import row, save_samples, write_log

from dpi.errors import UserError
from dpi.reporting.explorer import curve, explore, losses, thin
from dpi.reporting.frame import read_rows, read_runs, results

DPI = ("diffusion", "adm", "dpi")


def only(folder):
    runs, _ = read_runs(folder)
    (run,) = explore(runs, results(read_rows(runs)))
    return run


def test_later_sessions_overwrite_the_steps_that_they_did_again(make_run):
    folder = make_run(DPI)
    write_log(folder, 9, {1: (5.0, 6.0), 2: (4.0, 5.0)})
    write_log(folder, 10, {2: (3.0, 2.0), 3: (1.0, 0.5)})
    (folder / "log" / "version_11").mkdir()
    (folder / "log" / "version_11" / "metrics.csv").touch()  # only just started
    found = losses(folder)
    assert found["loss"].to_dict() == {1: 5.0, 2: 3.0, 3: 1.0}
    assert found["val_loss"].to_dict() == {1: 6.0, 2: 2.0, 3: 0.5}


def test_what_a_run_has_is_shown(make_run, runs):
    rows = {"denoising": [row("mse", 0.5), row("mse", 1.0, 0)]}
    rows["interpolation"] = [row("lambda", s / 9, s) for s in range(10)]
    folder = make_run(DPI, rows, settings={"cond.init": "independent"})
    write_log(folder, 0, {1: (4.0, 6.0), 2: (1.0, 5.0)})
    (folder / "status.json").write_text(json.dumps({"step": 3000, "seconds": 125.0}))
    run = only(runs)
    assert (run["state"], run["time"], run["val_loss"]) == ("done", "2 min", 5.0)
    assert run["metrics"] == {"mse": 0.5}
    assert run["settings"] == {"cond.init": "independent"}
    assert run["losses"]["points"] == {"loss": "1,1.3863 2,0", "val_loss": "1,1.7918 2,1.6094"}
    assert (run["losses"]["low"], run["losses"]["high"], run["losses"]["last"]) == (1.0, 6.0, 2)
    assert run["learned"]["points"]["lambda"].split()[:2] == ["0,0", "1,0.11111"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, ""),
        ({"step": 100, "stage": "training"}, "training"),
        ({"step": 3000}, "done"),
        ({"step": 100, "stage": "training", "failed": "out of memory"}, "failed"),
    ],
)
def test_the_state_of_a_run(make_run, runs, status, state):
    folder = make_run(DPI)
    if status:
        (folder / "status.json").write_text(json.dumps(status))
    assert only(runs)["state"] == state


def test_samples_of_the_evaluation_come_before_those_of_the_training(make_run, runs):
    folder = make_run(DPI)
    assert only(runs)["samples"] is None
    save_samples(folder / "samples" / "step_0000500.png", seed=1)
    save_samples(folder / "samples" / "step_0003000.png", seed=2)
    last = only(runs)["samples"]
    save_samples(folder / "samples" / "step_0000500.png", seed=3)
    assert only(runs)["samples"] == last
    save_samples(folder / "evaluation" / "samples.png", seed=4)
    assert only(runs)["samples"] != last


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation/samples.png", b""),
        ("evaluation/samples.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40),
        ("log/version_0/metrics.csv", b"step,loss\n1,a\n"),
        ("log/version_0/metrics.csv", b"1,2\n"),
    ],
)
def test_a_damaged_file_is_named(make_run, runs, name, content):
    path = make_run(DPI) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path} cannot be read"):
        only(runs)


def test_curves_are_thin_and_keep_their_ends():
    line = pd.Series(range(5000), index=range(5000))
    assert len(thin(line)) == 200
    assert (thin(line).index[0], thin(line).index[-1]) == (0, 4999)
    assert thin(line[:3]).tolist() == [0, 1, 2]
    assert curve({"loss": line[:1]}) is None  # nothing to draw
    assert curve({"loss": -line}, log=True) is None
    flat = curve({"loss": pd.Series({1: 2.0, 2: 2.0})})
    assert flat["bottom"] == flat["top"] == 2.0
