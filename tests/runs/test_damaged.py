"""A damaged file of one run is made again where it can be; the other runs go on."""

import os
import pickle
import shutil
from operator import setitem
from pathlib import Path

import pytest
import torch
from conftest import flip

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


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("owned",)


FILES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-5000]),
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "code": lambda path: torch.save({"state_dict": Hostile()}, path),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Hostile())),
    "not ours": lambda path: torch.save({"weights": torch.zeros(3)}, path),
    "absent": Path.unlink,
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_one_line_and_runs_no_code(command, tiny, run, name):
    FILES[name](run() / "last.ckpt")
    resume = ["train.py", *tiny, "run=run", "training.steps=6"]
    for words in (["sample.py", "run=run", "n=1"], resume)[: 1 if name == "absent" else 2]:
        done = command(*words, error="run/last.ckpt")
        assert done.err.count("error: ") == 1
    assert not Path("owned").exists()


def moment(key, change):
    """Of the optimizer, of the second parameter."""

    def write(checkpoint):
        moments = checkpoint["optimizer_states"][0]["state"][1]
        moments[key] = change(moments[key])

    return write, f"{key} of parameter 1 is "


OPTIMIZER = "has no optimizer_states as train.py writes it: put another checkpoint in its place"
WEIGHT = "network.theta0.head.weight"
DIVERGED = f"is of a training that diverged: {WEIGHT} is not finite"
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
    "short": moment("exp_avg", lambda tensor: tensor.flatten()[:1]),
    "integers": moment("exp_avg", lambda tensor: tensor.long()),
    "meta": moment("exp_avg_sq", lambda tensor: tensor.to("meta")),
    "sparse": moment("exp_avg_sq", lambda tensor: tensor.to_sparse()),
    "complex": moment("exp_avg_sq", lambda tensor: tensor.to(torch.complex64)),
    "nan moments": moment("exp_avg_sq", lambda tensor: tensor * torch.nan),
    "no step": moment("step", lambda tensor: None),
    "nan": (lambda c: c["current_model_state"][WEIGHT].view(-1)[:1].fill_(torch.nan), DIVERGED),
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
    "another shape": (
        lambda c: setitem(c["state_dict"], WEIGHT, c["state_dict"][WEIGHT][:2].clone()),
        "belongs to another configuration",
    ),
    "nan average": (lambda c: c["state_dict"][WEIGHT].view(-1)[:1].fill_(torch.nan), DIVERGED),
}


@pytest.mark.parametrize("name", [*RESUMING, *SAMPLING])
def test_a_checkpoint_of_something_else_is_one_line(command, tiny, run, name):
    path = run("diffusion", "drunet", "dpi") / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    change, said = (RESUMING | SAMPLING)[name]
    change(checkpoint)
    torch.save(checkpoint, path)
    before = path.read_bytes()
    resume = ["train.py", *tiny, f"run={path.parent}", "training.steps=4"]
    sample = ["sample.py", f"run={path.parent}", "n=1", "steps=1", "device=cpu"]
    done = command(*(resume if name in RESUMING else sample), status=1)
    assert f"{path} " in done.one_line() and said in done.err, done
    assert path.read_bytes() == before


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
