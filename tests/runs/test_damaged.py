"""A damaged file of one run is made again where it can be; the other runs go on."""

import shutil
from operator import setitem
from pathlib import Path

import pytest
import torch

from dpi.runs.checkpoint import load_checkpoint
from dpi.runs.rows import read_rows

EVAL = [
    "eval=[objective,samples]",
    "eval.objective.pictures=2",
    "eval.objective.t=[0,999]",
    "eval.samples.grid=2",
    "eval.samples.steps=2",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def runs(command, tiny, finished, tmp_path) -> list[str]:
    """The command of a sweep whose two runs are finished."""
    sweep = ["-m", *tiny, "cond=tmap", "seed=0,1", *EVAL]
    if not (finished / "outputs").exists():
        command("train.py", *sweep)
        shutil.copytree(tmp_path, finished, dirs_exist_ok=True)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return sweep


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "name", ["status.json", "evaluation/objective.json", "errors*/*.jsonl", "samples*/*.npz"]
)
def test_what_can_be_made_again_is(command, runs, name):
    (run, *_) = sorted(Path("outputs").glob("avatars*"))
    kept = Path("data/cache/evaluations")
    (path,) = (next(kept.glob(f"{run.name}-*")) if "*" in name else run).glob(name)
    rows = read_rows(run / "evaluation/objective.json")
    truncate(path)
    command("status.py")
    if "*" in name:  # what an interrupted evaluation would find
        (run / "evaluation" / "objective.json").unlink()
        (run / "evaluation" / "samples.png").unlink()
    command("train.py", *runs)
    assert read_rows(run / "evaluation/objective.json") == rows
    status = command("status.py")
    assert "2 done" in status.out, status.out
    command("report.py")


@pytest.mark.parametrize("name", ["split.json", "config.yaml", "last.ckpt"])
def test_what_cannot_is_named_and_the_others_go_on(command, runs, name):
    first, second = sorted(Path("outputs").glob("avatars*"))
    truncate(first / name)
    done = command("train.py", *(word.replace("grid=2", "grid=3") for word in runs), status=1)
    assert "2 runs: 1 done, 1 failed" in done.out
    assert done.err.count("Traceback") == 0 and str(first / name) in done.err
    command("status.py")
    evaluated = command("evaluate.py", "run=outputs/avatars*", *EVAL, "accelerator=cpu", status=1)
    assert str(first / name) in evaluated.err
    assert f"objective of {second}" in evaluated.out


def test_a_report_leaves_out_what_cannot_be_read_and_names_it(command, runs):
    first, second = sorted(Path("outputs").glob("avatars*"))
    damaged = [first / "evaluation/objective.json", first / "evaluation/samples.png"]
    for path in damaged:
        truncate(path)
    done = command("report.py", status=1)
    assert done.err.endswith("; all else is reported\n")
    assert all(str(path) in done.err for path in damaged)
    page = Path("outputs/report/avatars-tiny/index.html").read_text()
    assert "Left out: files that cannot be read" in page and second.name in page
    (first / "config.yaml").write_bytes(b"")
    command("report.py", error=f"{first / 'config.yaml'} cannot be read")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("exp_avg", lambda moment: moment.flatten()[:1]),
        ("exp_avg", lambda moment: moment.long()),
        ("exp_avg_sq", lambda moment: moment.to("meta")),
        ("exp_avg_sq", lambda moment: moment.to_sparse()),
        ("exp_avg_sq", lambda moment: moment.to(torch.complex64)),
        ("exp_avg_sq", lambda moment: moment * torch.nan),
        ("step", lambda moment: None),
    ],
)
def test_moments_that_do_not_fit_are_one_line(command, tiny, run, key, change):
    path = run("diffusion", "drunet", "dpi") / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    moments = checkpoint["optimizer_states"][0]["state"][1]
    moments[key] = change(moments[key])
    torch.save(checkpoint, path)
    done = command("train.py", *tiny, f"run={path.parent}", "training.steps=4", status=1)
    assert len(done.err.splitlines()) == 1, done.err
    assert f"{path}" in done.err and f"{key} of parameter 1 is " in done.err


OPTIMIZER = "has no optimizer_states as train.py writes it: put another checkpoint in its place"
WEIGHT = "network.theta0.head.weight"
RESUMING = {
    "no optimizer": (lambda c: c.pop("optimizer_states"), OPTIMIZER),
    "no optimizers": (lambda c: c.update(optimizer_states=[]), OPTIMIZER),
    "two optimizers": (lambda c: c.update(optimizer_states=2 * c["optimizer_states"]), OPTIMIZER),
    "no moments": (lambda c: c["optimizer_states"][0].pop("state"), OPTIMIZER),
    "other moments": (lambda c: setitem(c["optimizer_states"][0]["state"], "1", {}), OPTIMIZER),
    "more moments": (
        lambda c: setitem(s := c["optimizer_states"][0]["state"], 99, s[0]),
        "exp_avg of parameter 99 is ",
    ),
    "weights alone": (
        lambda c: [
            c.pop(key) for key in {*c} - {"state_dict", "current_model_state", "global_step"}
        ],
        OPTIMIZER,
    ),
    "no loops": (lambda c: c.pop("loops"), "has no loops as train.py"),
    "other loops": (lambda c: c.update(loops={"fit_loop": {"epoch_progress": 3}}), "loops of step"),
    "another step": (lambda c: c.update(global_step=2), "of step 2, and its loops of step 3"),
    "callbacks": (lambda c: c.update(callbacks=[1]), "has no callbacks as train.py"),
    "version": (lambda c: c.pop("pytorch-lightning_version"), "has no pytorch-lightning_version"),
}
SAMPLING = {
    "true": (lambda c: c.update(global_step=True), "has no global_step as train.py"),
    "negative": (lambda c: c.update(global_step=-3), "has no global_step as train.py"),
    "huge": (lambda c: c.update(global_step=10**30), "has no global_step as train.py"),
    "key": (lambda c: c["state_dict"].update({3: torch.ones(1)}), "has no state_dict as train.py"),
    "value": (lambda c: c["current_model_state"].update(x=3), "has no current_model_state as"),
    "twice": (
        lambda c: setitem(c["state_dict"], WEIGHT.removeprefix("network."), torch.ones(1)),
        "theta0.head.weight is (1,) torch.float32 torch.strided there, absent here",
    ),
    "another name": (
        lambda c: setitem(c["state_dict"], WEIGHT[8:], c["state_dict"].pop(WEIGHT)),
        f"{WEIGHT} is absent there",
    ),
}


@pytest.mark.parametrize("name", [*RESUMING, *SAMPLING])
def test_a_checkpoint_of_something_else_is_one_line(command, tiny, run, name):
    path = run("diffusion", "drunet", "dpi") / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    change, said = (RESUMING | SAMPLING)[name]
    change(checkpoint)
    torch.save(checkpoint, path)
    resume = ["train.py", *tiny, f"run={path.parent}", "training.steps=4"]
    sample = ["sample.py", f"run={path.parent}", "n=1", "steps=1", "device=cpu"]
    done = command(*(resume if name in RESUMING else sample), status=1)
    assert len(done.err.splitlines()) == 1, done.err
    assert f"{path} " in done.err and said in done.err, done.err


def test_a_best_checkpoint_without_its_loss_is_named(command, tiny, run):
    shutil.copy(run() / "last.ckpt", "run/best.ckpt")
    best = ["training.steps=4", "training.show.keep_best=true"]
    done = command("train.py", *tiny, "run=run", *best, status=1)
    assert "Traceback" not in done.err
    assert "error: run/best.ckpt has no val_loss as train.py writes it" in done.err


def test_a_run_goes_on_as_its_configuration_says_whatever_the_optimizer_was(command, tiny, run):
    """The moments alone are the checkpoint's."""
    path = run("diffusion", "drunet", "dpi") / "last.ckpt"
    shutil.copytree("run", "other")
    checkpoint = torch.load(path, weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]
    optimizer["param_groups"].pop()
    optimizer["param_groups"][0] |= {"lr": float("nan"), "betas": (2.0,), "weight_decay": "x"}
    torch.save(checkpoint | {"lr_schedulers": [{"base_lrs": "x"}]}, path)
    for name in ("run", "other"):
        command("train.py", *tiny, f"run={name}", "training.steps=4")
    one, two = (load_checkpoint(Path(name, "last.ckpt")) for name in ("run", "other"))
    for name, tensor in one["current_model_state"].items():
        assert torch.equal(tensor, two["current_model_state"][name]), name
