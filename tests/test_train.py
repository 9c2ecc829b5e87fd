"""python train.py: every combination trains, runs survive interruptions, mistakes are told."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

COMBINATIONS = [
    ("diffusion", "drunet", ["dpi", "tmap", "sigmamap", "ncsnv2"]),
    ("diffusion", "adm", ["dpi", "tmap", "sigmamap", "ncsnv2", "mlp"]),
    ("flow", "drunet", ["dpi", "tmap"]),
    ("flow", "adm", ["dpi", "tmap", "mlp"]),
]

# Sums are taken in another order by another number of threads.
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a run's checkpoint: raw and averaged weights, and the optimizer's."""
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    tensors = {f"ema {k}": v for k, v in checkpoint["state_dict"].items()}
    tensors |= {f"raw {k}": v for k, v in checkpoint["current_model_state"].items()}
    for i, state in checkpoint["optimizer_states"][0]["state"].items():
        tensors |= {f"adam {i} {k}": v for k, v in state.items()}
    return tensors


def assert_equal(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def assert_close(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-4, msg=name)


def logged(run: Path, column: str) -> list[float]:
    values = []
    for log in sorted(run.glob("log/*/metrics.csv")):
        with log.open(newline="") as file:
            values += [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return values


@pytest.mark.parametrize(
    ("framework", "arch", "cond"),
    [(framework, arch, cond) for framework, arch, conds in COMBINATIONS for cond in conds],
)
def test_every_combination_of_the_paper_trains(command, tiny, framework, arch, cond):
    words = [f"framework={framework}", f"arch={arch}", f"cond={cond}"]
    done = command("train.py", *tiny, *words)
    assert done.status == 0, done.err
    (run,) = Path("outputs").glob(f"avatars-{framework}-{arch}-{cond}-mini-seed0-*")
    assert str(run) in done.out
    assert Image.open(run / "samples/step_0000003.png").mode == "RGB"
    assert (run / "lambda.png").exists() == (cond == "dpi")
    assert len(logged(run, "held-out")) == 1 and len(logged(run, "loss")) == 3
    record = json.loads((run / "split.json").read_text())
    assert record["pictures"] == 40 and len(record["held_out"]) == 8


@pytest.mark.parametrize("extra", [[], ["cond=tmap"], ["trainer.accumulate_grad_batches=2"]])
def test_a_resumed_run_has_the_weights_of_one_never_interrupted(command, tiny, extra):
    command("train.py", *tiny, *extra, "run=whole", "training.steps=7")
    command("train.py", *tiny, *extra, "run=parts", "training.steps=2")
    command("train.py", *tiny, *extra, "run=parts", "training.steps=3")
    done = command("train.py", *tiny, *extra, "run=parts", "training.steps=7")
    assert "going on from step 3" in done.out
    assert_equal(Path("whole"), Path("parts"))


@pytest.mark.slow
def test_a_killed_run_has_the_weights_of_one_never_killed(command, tiny, tmp_path):
    words = [*tiny, "training.steps=150", "training.show.save_every=5", "training.show.every=20"]
    command("train.py", *words, "run=whole")
    for killed, delay in enumerate((0.3, 1.1, 0.7)):
        process = subprocess.Popen(
            [sys.executable, ROOT / "train.py", *words, "run=killed"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ONE_THREAD,
        )
        stamp = (tmp_path / "killed/last.ckpt").stat().st_mtime_ns if killed else 0
        while process.poll() is None:
            path = tmp_path / "killed/last.ckpt"
            if path.exists() and path.stat().st_mtime_ns != stamp:
                time.sleep(delay)
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = command("train.py", *words, "run=killed")
    assert done.status == 0, done.err
    assert_equal(tmp_path / "whole", tmp_path / "killed")


def test_micro_batches_and_the_whole_batch_learn_the_same(command, tiny):
    # Dropout differs between them, all else does not.
    words = [*tiny, "arch.dropout=0"]
    command("train.py", *words, "run=whole")
    command("train.py", *words, "run=parts", "trainer.accumulate_grad_batches=4")
    assert_close(Path("whole"), Path("parts"))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(command, tiny, tmp_path):
    words = [*tiny, "arch.dropout=0", "data.random_flip=true"]
    command("train.py", *words, "run=one")
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    subprocess.run(
        [sys.executable, ROOT / "train.py", *words, *two, "run=two"],
        cwd=tmp_path,
        check=True,
        timeout=300,
        env=ONE_THREAD,
    )
    assert_close(tmp_path / "one", tmp_path / "two")


def test_a_finished_run_says_so_and_stays_as_it_is(command, tiny):
    command("train.py", *tiny, "run=it")
    before = Path("it/last.ckpt").read_bytes()
    done = command("train.py", *tiny, "run=it")
    assert done.status == 0 and "is finished: 3 steps" in done.out
    assert Path("it/last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.precision=bf16-mixed"],
        ["trainer.channels_last=true"],
        ["training.distinct_scalars=null", "training.stratified=false"],
        ["cond.schedule=linear"],
        ["cond.endpoints=exact", "cond.init=independent"],
        ["data.random_flip=true"],
    ],
)
def test_options_train_and_resume(command, tiny, words):
    for steps in (2, 4):
        done = command("train.py", *tiny, *words, "run=it", f"training.steps={steps}")
        assert done.status == 0, done.err
    assert torch.tensor(logged(Path("it"), "loss")).isfinite().all()


@pytest.mark.parametrize("pack", ["folder", "zip", "npz"])
def test_pictures_of_ones_own_train(command, tiny, pack):
    path = picture_folder(Path("mine"), count=20)
    if pack == "zip":
        path = Path(shutil.make_archive("mine", "zip", path))
    elif pack == "npz":
        path = Path("mine.npz")
        np.savez(path, arr_0=np.stack([noise(i) for i in range(20)]))
    words = [w for w in tiny if not w.startswith(("data=", "data.count="))]
    data = "npz" if pack == "npz" else "folder"
    done = command("train.py", *words, f"data={data}", f"data.path={path}")
    assert done.status == 0, done.err
    (run,) = Path("outputs").glob("mine-diffusion-drunet-dpi-mini-seed0-*")
    assert (run / "last.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_loggers_get_the_pictures(command, tiny, logger, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    done = command("train.py", *tiny, f"logger={logger}", "run=it")
    assert done.status == 0, done.err
    if logger == "wandb":
        kept = {p.name.split("_")[0] for p in Path("it/wandb").rglob("*.png")}
    else:
        (events,) = Path("it/tensorboard").rglob("events.*")
        kept = {name for name in ("samples", "lambda") if name.encode() in events.read_bytes()}
    assert kept == {"samples", "lambda"}
    assert len(logged(Path("it"), "loss")) == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs g++")
@pytest.mark.parametrize("cond", ["dpi", "tmap"])
def test_a_compiled_network_learns_the_same(command, tiny, cond):
    words = [*tiny, f"cond={cond}", "arch.dropout=0"]
    command("train.py", *words, "run=plain")
    done = command("train.py", *words, "run=compiled", "trainer.compile=true")
    assert done.status == 0, done.err
    assert_close(Path("plain"), Path("compiled"))


def test_a_sweep_gives_every_run_its_folder(command, tiny):
    done = command("train.py", "-m", *tiny, "cond=dpi,tmap", "seed=0,1")
    assert done.status == 0, done.err
    for cond in ("dpi", "tmap"):
        for seed in (0, 1):
            (run,) = Path("outputs").glob(f"avatars-diffusion-drunet-{cond}-mini-seed{seed}-*")
            assert (run / "last.ckpt").exists()
    assert [p.name for p in Path().iterdir()] == ["outputs"]


def test_other_settings_need_another_folder(command, tiny):
    command("train.py", *tiny, "run=it")
    done = command("train.py", *tiny, "run=it", "cond.init=independent")
    assert done.status == 1 and "cond.init was copy, now independent" in done.err
    assert command("train.py", *tiny, "cond.init=independent").status == 0
    (run,) = Path("outputs").glob("*-seed0-*")
    assert "-init_independent-" in run.name and (run / "last.ckpt").exists()


def test_how_a_batch_is_run_is_no_other_setting(command, tiny):
    command("train.py", *tiny, "run=it")
    done = command("train.py", *tiny, "run=it", "cond.mode=grouped", "training.steps=4")
    assert done.status == 0 and "going on from step 3" in done.out


def test_other_pictures_need_another_folder(command, tiny):
    command("train.py", *tiny, "run=it", "training.steps=1")
    done = command("train.py", *tiny, "run=it", "data.count=41")
    assert done.status == 1 and "other pictures (40, now 41)" in done.err


def test_the_defaults_are_the_papers_run(command):
    """The composed configuration as Hydra prints it, and nothing is trained."""
    done = command("train.py", "arch=adm", "--cfg", "job")
    for line in (
        "steps: 500000",
        "batch_size: 256",
        "lr: 1.0e-05",
        "lr_lambda: 0.001",
        "weight_decay: 0.05",
        "ema_decay: 0.9999",
        "dropout: 0.1",
        "image_size: 64",
        "held_out: 1000",
        "_target_: dpi.conditioning.DPI",
    ):
        assert line in done.out, line


def noise(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)


def picture_folder(path: Path, count: int = 4, **odd: Image.Image) -> Path:
    path.mkdir()
    for i in range(count):
        Image.fromarray(noise(i)).save(path / f"{i}.png")
    for name, picture in odd.items():
        picture.save(path / f"{name}.png")
    return path


MISTAKES = {
    "excluded: mlp with drunet": (["cond=mlp"], "arch=adm"),
    "excluded: ncsnv2 with flow": (["cond=ncsnv2", "framework=flow"], "cond=tmap"),
    "excluded: sigmamap with flow": (["cond=sigmamap", "framework=flow"], "cond=tmap"),
    "FFHQ absent": (["data=ffhq64"], "prepare_ffhq.py"),
    "no such folder": (["data=folder", "data.path=nowhere"], "nowhere"),
    "empty folder": (["data=folder", "data.path=empty"], "empty"),
    "grey picture": (["data=folder", "data.path=grey"], "grey/g.png"),
    "corrupt picture": (["data=folder", "data.path=corrupt"], "corrupt/c.png"),
    "too few pictures": (["data=folder", "data.path=few"], "data.held_out"),
    "cannot be halved": (["image_size=9"], "multiples of 2"),
    "unknown word": (["cond.init=zeros"], "init"),
    "batch does not divide": (["trainer.accumulate_grad_batches=3"], "micro-batches"),
    "more scalars than pictures": (["training.distinct_scalars=9"], "distinct_scalars"),
    "negative seed": (["seed=-1"], "seed"),
    "steps are no number": (["training.steps=many"], "training.steps=many"),
    "no path": (["data=folder"], "data.path"),
    "no such framework setting": (["+framework.gamma=1"], "gamma"),
    "no GPU": (["trainer.accelerator=tpu"], "trainer"),
    "unknown precision": (["trainer.precision=7"], "precision"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_line_and_leave_nothing(command, tiny, mistake):
    words, said = MISTAKES[mistake]
    Path("empty").mkdir()
    picture_folder(Path("few"))
    picture_folder(Path("grey"), g=Image.new("L", (8, 8)))
    corrupt = picture_folder(Path("corrupt"), c=Image.new("RGB", (64, 64), "red"))
    (corrupt / "c.png").write_bytes((corrupt / "c.png").read_bytes()[:60])
    kept = [w for w in tiny if not w.startswith("data.count")] if "data=" in words[0] else tiny
    done = command("train.py", *kept, *words, "run=it")
    assert done.status == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "Traceback" not in done.err and not Path("it").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["cond=clairvoyance"], "clairvoyance"), (["training.learning_rate=1"], "learning_rate")],
)
def test_unknown_options_are_named(command, tiny, words, said):
    done = command("train.py", *tiny, *words)
    assert done.status != 0 and said in done.err and "Traceback" not in done.err


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(command, tiny):
    command("train.py", *tiny, "run=it")
    path = Path("it/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    next(iter(checkpoint["current_model_state"].values())).fill_(float("nan"))
    torch.save(checkpoint, path)
    before = path.read_bytes()
    done = command("train.py", *tiny, "run=it", "training.steps=8")
    assert done.status == 1 and "the loss is nan at step 8" in done.err
    assert "Traceback" not in done.err and path.read_bytes() == before
