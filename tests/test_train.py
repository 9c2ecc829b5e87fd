"""python train.py: every combination trains, runs survive interruptions, mistakes are reported."""

import csv
import hashlib
import json
import math
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, composed, image_folder
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

import dpi
from dpi.errors import UserError
from dpi.experiment import train
from dpi.hub import SharedModel
from dpi.runs.checkpoint import load_checkpoint
from dpi.runs.files import checkpoint_digest
from dpi.runs.record import record_session
from dpi.runs.run import open_run
from dpi.runs.status import read_status
from dpi.training.averaging import ema_decay, ema_lag

COMBINATIONS = [
    ("diffusion", "drunet", ["dpi", "tmap", "sigmamap", "ncsnv2"]),
    ("diffusion", "adm", ["dpi", "tmap", "sigmamap", "ncsnv2", "mlp"]),
    ("flow", "drunet", ["dpi", "tmap"]),
    ("flow", "adm", ["dpi", "tmap", "mlp"]),
]

STATES = ("state_dict", "current_model_state")
"""The averaged weights, and those of the last step."""


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


def logged(run: Path, column: str, of: str | None = None) -> list[float]:
    """A column of the log, in the rows that have `of`."""
    values = []
    for log in sorted(run.glob("log/*/metrics.csv")):
        with log.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get(of or column)]
        values += [float(row[column]) for row in rows]
    return values


@pytest.mark.parametrize(
    ("framework", "arch", "cond"),
    [(framework, arch, cond) for framework, arch, conds in COMBINATIONS for cond in conds],
)
def test_every_combination_of_the_paper_trains(trained, framework, arch, cond):
    run = trained(framework, arch, cond)
    assert Image.open(run / "samples/step_0000003.png").mode == "RGB"
    assert (run / "lambda.png").exists() == (cond == "dpi")
    assert len(logged(run, "val_loss")) == 1 and len(logged(run, "loss")) == 3
    record = json.loads((run / "split.json").read_text())
    assert record["images"] == 40 and len(record["held_out"]) == 8


@pytest.mark.parametrize(
    ("framework", "arch", "cond", "learned"),
    [
        ("diffusion", "drunet", "film", set()),
        ("flow", "adm", "film+mlp", set()),
        ("flow", "drunet", "mixture", {f"weight_{k}" for k in range(4)}),
        ("diffusion", "adm", "dpi+film", {"lambda"}),
    ],
)
def test_conditionings_beyond_the_paper_train(command, tiny, framework, arch, cond, learned):
    overrides = [f"framework={framework}", f"arch={arch}", f"cond={cond}", "run=run"]
    overrides += ["framework.precondition=true", "eval=[interpolation]"]
    command("train.py", *tiny, *overrides)
    assert Path("run/lambda.png").exists() == bool(learned)
    evaluated = Path("run/evaluation/interpolation.json")
    rows = json.loads(evaluated.read_text()) if learned else []
    assert {row["metric"] for row in rows} == learned
    command("sample.py", "run=run", "n=2", "steps=2", "device=cpu")


OPTIONS = [
    *("training.warmup_steps=3", "training.lr_schedule=cosine", "training.lr_decay_steps=9"),
    *("training.loss_weighting=uncertainty", "trainer.gradient_clip_val=0.1"),
]


def test_a_resumed_run_has_the_weights_of_one_never_interrupted(command, tiny):
    train = ["train.py", *tiny, *OPTIONS, "trainer.accumulate_grad_batches=2"]
    command(*train, "run=whole", "training.steps=5")
    command(*train, "run=parts", "training.steps=2")
    done = command(*train, "run=parts", "training.steps=5")
    assert "resuming from step 2" in done.out
    assert_equal(Path("whole"), Path("parts"))
    digest = checkpoint_digest(Path("whole/last.ckpt"))
    assert digest and digest == checkpoint_digest(Path("parts/last.ckpt")), (
        "its rows are those of both"
    )
    for column in ("loss", "lr", "grad_norm"):
        assert logged(Path("whole"), column) == logged(Path("parts"), column)


def test_all_learning_rates_follow_the_schedule_and_what_weights_the_loss_is_learned(command, tiny):
    command("train.py", *tiny, *OPTIONS, "run=it", "training.steps=7")
    factors = [1 / 3, 2 / 3, 1, *((1 + math.cos(math.pi * k / 6)) / 2 for k in range(4))]
    assert logged(Path("it"), "lr") == pytest.approx([1e-3 * factor for factor in factors])
    checkpoint = torch.load("it/last.ckpt", weights_only=True)
    network, phi, weighting = checkpoint["optimizer_states"][0]["param_groups"]
    assert (network["lr"], phi["lr"]) == pytest.approx((0.5e-3, 0.5e-3))
    assert weighting["weight_decay"] == 0 and checkpoint["state_dict"]["weighting.w"].any()
    assert not torch.equal(*(checkpoint[part]["weighting.w"] for part in STATES))
    # The sampled network has no part in it.
    evaluated = ["eval=[objective]", "eval.objective.pictures=4", "eval.objective.t=[0]"]
    command("evaluate.py", "run=it", *evaluated, "accelerator=cpu")


def test_cosine_ends_with_the_training_which_is_not_extended(command, tiny):
    train = ["train.py", *tiny, "training.lr_schedule=cosine", "run=it"]
    command(*train, "training.steps=4")
    factors = [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert logged(Path("it"), "lr") == pytest.approx([1e-3 * factor for factor in factors])
    assert "is finished" in command(*train, "training.steps=4").out
    for steps in (3, 6):
        command(*train, f"training.steps={steps}", error="its learning rate falls to 0 at step 4")
    done = command(*train, "training.steps=6", "training.lr_decay_steps=4", status=1)
    assert "training.lr_decay_steps=4: cosine decays" in done.err


def test_a_training_starts_from_weights_which_distinguish_it(command, tiny, run):
    run()
    SharedModel.from_run(open_run("run")).save_pretrained("shared")
    train = ["train.py", *tiny, "training.lr=0", "training.lr_lambda=0", "training.weight_decay=0"]
    average = load_checkpoint(Path("run/last.ckpt"))["state_dict"]
    for i, source in enumerate(("run", "run/last.ckpt", "shared/model.safetensors")):
        done = command(*train, f"training.init_from={source}", f"run=it{i}", "training.steps=1")
        found = load_checkpoint(Path(f"it{i}/last.ckpt"))
        for part in STATES:
            assert all(torch.equal(found[part][name], average[name]) for name in average)
    longer = [*train, "run=it0", "training.steps=2"]
    command(*longer, error="training.init_weights was ")
    shutil.copytree("run", "copy")  # elsewhere, the same weights
    command(*longer, "training.init_from=copy")
    done = command(*train, "training.init_from=run", "cond=tmap", "run=other", status=1)
    assert "run/last.ckpt belongs to another configuration" in done.err
    done = command(*train, "training.init_from=run/config.yaml", "run=other", status=1)
    assert "run/config.yaml is damaged, no checkpoint" in done.err
    assert not Path("other").exists()
    content = hashlib.sha256(Path("run/last.ckpt").read_bytes()).hexdigest()[:12]
    outs = [command(*train, f"training.init_from={of}").out for of in ("run", "copy/last.ckpt")]
    (name,) = {out.split(":")[0] for out in outs}  # the same weights, the same run
    assert name.endswith(f"-init_from_{content}-lr_0-lr_lambda_0-weight_decay_0")
    assert "is finished" in outs[1] and Path(name, "last.ckpt").exists()


@pytest.mark.parametrize("source", ["run", "shared/model.safetensors"])
def test_weights_of_another_target_are_warned_of_and_trained_weights_make_no_noise(
    command, tiny, run, source
):
    run("flow")
    SharedModel.from_run(open_run("run")).save_pretrained("shared")
    start = ["train.py", *tiny, f"training.init_from={source}", "training.ema_decay=0.99"]
    done = command(*start, "framework=flow", "run=same")
    assert "are noise" not in done.out and "warning" not in done.err
    done = command(*start, "run=other")
    said = "framework._target_ was dpi.frameworks.FlowMatching, now dpi.frameworks.VPDiffusion"
    assert done.err.count(said) == 1, done.err
    assert said not in command(*start, "run=other", "training.steps=4").err
    done = command(*start, "framework=flow", "framework.precondition=true", "run=third")
    assert "framework.precondition was False, now True" in done.err


def test_from_python_a_run_is_trained_and_opened(tiny, tmp_path):
    words = [*tiny[2:], f"hydra.searchpath=[file://{tiny[1]}]"]
    found = train([*words, f"run={tmp_path}/it", "training.steps=1"])
    assert (found.step, found.finished) == (1, True) and not found.network.training
    with pytest.raises(UserError, match="a sweep is trained on the command line"):
        train(["sweep=table2"])
    with pytest.raises(UserError, match="experiment=check keeps no run"):
        train([*words, "experiment=check"])
    with pytest.raises(UserError, match=r"training\.lr=-1"):
        train([*words, "training.lr=-1"])
    assert dpi.__version__ == version("dpi")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["training.stesp=3"], "did you mean training.steps="),
        (["cond=dpi,tmap"], "cond=dpi,tmap: for a sweep over these"),
        (["arch=unet"], "arch=unet: choose from adm, drunet$"),
        (["-m", "seed=0,1"], "^-m: settings are KEY=VALUE"),
        ("data=folder data.path=a", r"a list: train\(\['data=folder', 'data.path=a'\]\)$"),
        (["data=folder", "data.path=Köln"], "is it \"data.path='Köln'\""),
        (["dpi"], "did you mean cond=dpi"),
        ({"seed": 3}, "did you mean seed="),
        (["cond=null"], "a config group is null"),
        (["~data"], "^~data: this is needed"),
        ([3], "^3: settings are KEY=VALUE"),
    ],
)
def test_from_python_a_mistake_is_what_it_is_on_the_command_line(words, said):
    with pytest.raises(UserError, match=said) as caught:
        train(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "missing"), [("experiment", "hydra"), ("hub", "huggingface_hub")]
)
def test_what_needs_more_than_pytorch_says_what_to_install(monkeypatch, module, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, f"dpi.{module}")
    with pytest.raises(ImportError, match=r"pip install 'dpi\[train\]'"):
        import_module(f"dpi.{module}")


def test_a_half_life_is_that_of_edm_and_grows_with_the_images_seen(command, tiny):
    training = OmegaConf.create({"ema_decay": None, "ema_halflife": 500_000, "batch_size": 256})
    assert ema_decay(training, 0) == 0
    assert ema_decay(training, 1000) == pytest.approx(0.5 ** (1 / 50))  # of 1,000 batches 50
    assert ema_decay(training, 100_000) == pytest.approx(0.5 ** (256 / 500_000))

    train = [*tiny, "run=it", "training.steps=5", "training.show.keep_every=1"]
    train += ["training.ema_decay=null", "training.ema_halflife=1e6"]
    command("train.py", *train, "training.steps=3")
    command("train.py", *train)
    found = [load_checkpoint(Path(f"it/step_000000{n}.ckpt")) for n in range(1, 6)]
    average = found[0]["current_model_state"]
    for n, checkpoint in enumerate(found[1:], start=1):
        decay = 0.5 ** (1 / (0.05 * n))
        weights = checkpoint["current_model_state"]
        average = {k: decay * average[k] + (1 - decay) * w for k, w in weights.items()}
        for name, tensor in average.items():
            torch.testing.assert_close(checkpoint["state_dict"][name], tensor, msg=name)


def test_how_long_averaged_weights_lag_behind_is_said(command, tiny):
    for decay in (0.5, 0.99, 0.9999):
        lag = ema_lag(OmegaConf.create({"ema_decay": decay}))
        assert decay**lag <= 0.1 < decay ** (lag - 1)
    for decay in (0, None):
        assert ema_lag(OmegaConf.create({"ema_decay": decay})) == 0

    done = command("train.py", *tiny, "run=it", "training.ema_decay=0.5", "training.show.every=3")
    said = "samples are noise until about step 4, and val_loss is above loss; this is normal"
    assert said in done.out


def test_the_norm_of_the_gradient_is_logged_before_it_is_clipped(command, tiny):
    clip = "trainer.gradient_clip_val=1e-3"
    command("train.py", *tiny, "run=plain", "training.steps=1")
    command("train.py", *tiny, "run=clipped", "training.steps=1", clip)
    (norm,) = logged(Path("plain"), "grad_norm")
    assert norm > 0.01 and logged(Path("clipped"), "grad_norm") == [norm]

    def gradient(run: Path) -> float:
        # AdamW's first average is a tenth of the gradient.
        averages = [t for name, t in weights(run).items() if name.endswith("exp_avg")]
        return 10 * torch.cat([t.flatten() for t in averages]).norm().item()

    assert gradient(Path("plain")) == pytest.approx(norm, rel=1e-3)
    assert gradient(Path("clipped")) == pytest.approx(1e-3, rel=1e-3)


def test_checkpoints_and_averages_are_kept_and_a_run_can_go_on_from_one(command, tiny):
    # It diverges at first, so that the last is not the best.
    train = ["train.py", *tiny, "run=it", "training.steps=6", "training.show.every=2"]
    train += ["training.lr_schedule=rsqrt", "training.lr_decay_steps=1", "training.lr=0.1"]
    train += ["training.ema_decay=0.5", "trainer.accumulate_grad_batches=2"]
    kept = [*train, "training.show.keep_every=1", "training.show.keep_best=true"]
    kept.append("training.show.keep_ema=[0.9,0.5]")
    command(*train)
    Path("it").rename("plain")
    done = command(*kept)
    assert_equal(Path("plain"), Path("it"))
    steps = [load_checkpoint(Path(f"it/step_000000{n}.ckpt")) for n in range(1, 7)]
    assert [step["global_step"] for step in steps] == [*range(1, 7)]
    losses = dict(zip((2, 4, 6), logged(Path("it"), "val_loss"), strict=True))
    best = load_checkpoint(Path("it/best.ckpt"))
    assert best["global_step"] == min(losses, key=losses.get)
    assert best["val_loss"] == pytest.approx(losses[best["global_step"]])
    for decay in (0.5, 0.9):
        average, *others = (step["current_model_state"] for step in steps)
        for weights in others:
            average = {k: decay * average[k] + (1 - decay) * w for k, w in weights.items()}
        found = load_checkpoint(Path(f"it/ema_{decay}.ckpt"))
        assert found["global_step"] == 6 and found["state_dict"].keys() == average.keys()
        for name, tensor in average.items():
            torch.testing.assert_close(found["state_dict"][name], tensor)

    # Back to step 3; what was the best is known from the file.
    shutil.copytree("it", "whole")
    shutil.copy("it/step_0000003.ckpt", "it/last.ckpt")
    Path("it/status.json").unlink()
    assert "resuming from step 3" in command(*kept).out
    assert_equal(Path("whole"), Path("it"))
    for name in ("best.ckpt", "ema_0.5.ckpt", "ema_0.9.ckpt"):
        whole, resumed = (load_checkpoint(Path(run, name)) for run in ("whole", "it"))
        assert whole["global_step"] == resumed["global_step"]
        assert all(torch.equal(whole["state_dict"][k], v) for k, v in resumed["state_dict"].items())
    wanted = ["run=it", "eval=[objective]", "eval.objective.pictures=4", "accelerator=cpu"]
    done = command("evaluate.py", *wanted, "eval.objective.t=[0,999]", "checkpoint=ema_0.5.ckpt")
    assert Path("it/evaluation/ema_0.5/objective.json").exists()

    files = [Path("it", name) for name in ("config.yaml", "sessions.jsonl", "last.ckpt")]
    before = [path.read_bytes() for path in files]
    for steps in ("6", "7"):
        done = command(*train, f"training.steps={steps}", "training.show.keep_ema=[0.99]", status=1)
        assert "0.99 is not averaged by this run, which is at" in done.err
    assert [path.read_bytes() for path in files] == before
    assert "is finished: 6 steps" in command(*kept).out
    assert read_status(Path("it")).failed is None

    average = Path("it/ema_0.9.ckpt").read_bytes()  # as if killed before it was written
    Path("it/ema_0.9.ckpt").unlink()
    command(*kept)
    assert Path("it/ema_0.9.ckpt").read_bytes() == average
    Path("it/last.ckpt").unlink()
    command(*kept, error="step_0000006.ckpt of an earlier training: copy it")


def test_the_best_checkpoint_may_be_of_a_validation_after_the_training(command, tiny):
    train = [*tiny, "training.show.every=2", "training.show.keep_best=true", "run=it"]
    command("train.py", *train, "training.steps=3")
    losses = dict(zip((2, 3), logged(Path("it"), "val_loss"), strict=True))
    best, last = (load_checkpoint(Path("it", name)) for name in ("best.ckpt", "last.ckpt"))
    assert losses[3] < losses[2] and best["global_step"] == 3
    assert best.pop("val_loss") == pytest.approx(losses[3])
    assert best.keys() == last.keys()
    for part in STATES:
        for name, tensor in last[part].items():
            assert torch.equal(best[part][name], tensor), name


def test_fewer_steps_than_were_taken_are_refused(command, tiny, run):
    config = (run() / "config.yaml").read_bytes()
    Path("run/status.json").unlink()  # as after Ctrl-C in a longer training
    done = command("train.py", *tiny, "run=run", "training.steps=2", status=1)
    assert "run is at step 3 already: give training.steps=3 or more" in done.err
    assert Path("run/config.yaml").read_bytes() == config


def test_evaluations_and_samples_of_a_kept_checkpoint_are_kept_apart(command, tiny):
    command("train.py", *tiny, "run=it", "training.show.keep_every=2")
    wanted = ["run=it", "eval=[objective,samples]", "eval.objective.pictures=4", "accelerator=cpu"]
    wanted += ["eval.objective.t=[0,500,999]", "eval.samples.grid=2", "eval.samples.steps=2"]
    command("evaluate.py", *wanted)
    before = {path: path.read_bytes() for path in Path("it").rglob("*.*")}
    done = command("evaluate.py", *wanted, "checkpoint=step_0000002.ckpt")
    assert "objective of it/step_0000002.ckpt, step 2 of 3\n" in done.out, done.err
    draw = ["run=it", "n=2", "steps=2", "device=cpu"]
    done = command("sample.py", *draw, "checkpoint=step_0000002.ckpt")
    assert "n2_step_0000002.png" in done.out
    assert all(path.read_bytes() == content for path, content in before.items())
    last, kept = (
        json.loads(Path("it/evaluation", name).read_text())
        for name in ("objective.json", "step_0000002/objective.json")
    )
    assert {row["step"] for row in last} == {3} and {row["step"] for row in kept} == {2}
    assert {row["weights"] for row in last}.isdisjoint(row["weights"] for row in kept)
    assert Path("it/evaluation/step_0000002/samples.png").exists()


def test_micro_batches_and_the_whole_batch_learn_the_same(command, tiny):
    # Dropout differs between them, all else does not.
    train = ["train.py", *tiny, *OPTIONS, "arch.dropout=0", "training.steps=4"]
    command(*train, "run=whole")
    command(*train, "run=parts", "trainer.accumulate_grad_batches=4")
    command(*train, "run=rare", "training.show.log_every=2")
    assert_close(Path("whole"), Path("parts"))
    whole = logged(Path("whole"), "loss")
    assert len(set(whole)) == 4
    assert logged(Path("parts"), "loss") == pytest.approx(whole, rel=1e-4)
    means = [sum(whole[:2]) / 2, sum(whole[2:]) / 2]
    assert logged(Path("rare"), "loss") == pytest.approx(means, rel=1e-4)


def test_a_small_collection_holds_out_a_tenth_and_repeats_in_a_batch(command, own):
    words = [word for word in own if not word.startswith("data.held_out=")]
    words += ["data=folder", f"data.path={image_folder('few', 20)}", "run=it"]
    words.append("training.batch_size=20")
    done = command("train.py", *words)
    assert "18 images, 2 held out" in done.out, done.err
    said = "warning: training.batch_size=20: there are only 18 training images"
    assert done.err.count(said) == 1, done.err
    assert "is finished" in command("train.py", *words, "data.held_out=0.1").out, "the same images"
    command("train.py", *words, "data.held_out=5", error="has held out other images (2, now 5)")


@pytest.mark.parametrize(
    "overrides",
    [
        [
            *("trainer.precision=bf16-mixed", "trainer.channels_last=true"),
            *("cond.endpoints=exact", "cond.init=independent"),
            *("training.loss_weighting=min_snr", "data.random_flip=true"),
        ],
        [
            *("training.distinct_scalars=null", "training.stratified=false"),
            *("training.lr_schedule=rsqrt", "training.lr_decay_steps=2", "cond.schedule=linear"),
        ],
        ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.01"],
    ],
)
def test_options_train_and_resume(command, tiny, overrides):
    for steps in (2, 4):
        command("train.py", *tiny, *overrides, "run=it", f"training.steps={steps}")
    assert torch.tensor(logged(Path("it"), "loss")).isfinite().all()


def test_a_zip_of_ones_own_images_trains(command, own):
    shutil.make_archive("my own", "zip", image_folder("mine", 20))
    command("train.py", *own, "data=folder", "data.path='my own.zip'")
    (run,) = Path("outputs").glob("my_own-*-diffusion-drunet-dpi-tiny-seed0-*")
    wanted = [f"run={run}", "eval=[objective]", "eval.objective.pictures=4", "accelerator=cpu"]
    command("evaluate.py", *wanted, "eval.objective.t=[0]")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs g++")
def test_a_compiled_network_learns_the_same(command, tiny):
    overrides = [*tiny, "arch.dropout=0", "eval=[objective]", "eval.objective.pictures=4"]
    command("train.py", *overrides, "run=plain")
    command("train.py", *overrides, "run=compiled", "trainer.compile=true")
    assert_close(Path("plain"), Path("compiled"))
    plain, compiled = (
        [row["value"] for row in json.loads(Path(run, "evaluation/objective.json").read_text())]
        for run in ("plain", "compiled")
    )
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_later_runs_of_a_process_are_compiled_and_timed_so_too(command, tiny, monkeypatch):
    made, ran, compiled = [], [], nn.Module.compile

    def backend(graph, inputs):
        made.append(graph)
        return lambda *args: ran.append(graph) or graph.forward(*args)

    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled(self, backend=backend))

    def seconds(step, repeats):
        ran.clear()
        step(0)
        return float(bool(ran))

    monkeypatch.setattr("dpi.evaluation.complexity.seconds", seconds)
    counts = []
    for lr in ("1e-3", "2e-3", "3e-3", "4e-3"):
        before = len(made)
        command("train.py", *tiny, "trainer.compile=true", f"training.lr={lr}", f"run=lr{lr}")
        counts.append(len(made) - before)
    assert counts[0] and len(set(counts)) == 1, counts
    command("train.py", *tiny, "trainer.compile=true", "run=lr1e-3", "eval=[complexity]")
    rows = json.loads(Path("lr1e-3/evaluation/complexity.json").read_text())
    found = {row["metric"]: row for row in rows}
    assert found["training_step_s"]["value"] == 1, "a graph ran"
    assert found["training_step_s"]["settings"]["compile"] is True


def test_a_training_that_lightning_ends_early_is_saved_and_not_done(command, tiny):
    train = ["train.py", *tiny, "run=it", "training.steps=100000"]
    over = "+trainer.max_time='00:00:00:01'"
    done = command(*train, over, error="which is saved: leave out the option of trainer")
    step = load_checkpoint(Path("it/last.ckpt"))["global_step"]
    assert f"at step {step} of 100000" in done.one_line()
    assert read_status(Path("it")).failed and read_status(Path("it")).step == step


def test_two_settings_have_two_names():
    """What had to be made plain ends in a hash; names in which nothing had to be are as ever."""

    def name(*overrides: str) -> str:
        run = str(composed(*overrides, "data=avatars", run=None).run)
        return run.partition("-seed0")[2]

    plain = {
        "tag=mine_2.1": "-mine_2.1",
        "training.lr=1e-5": "-lr_1e_05",
        "arch.channels=[4,8]": "-channels_4_8",
        "training.loss_weighting=min_snr": "-loss_weighting_min_snr",
        "data.random_flip=true": "-random_flip_True",
    }
    assert {words: name(words) for words in plain} == plain
    pairs = [
        ("tag=lr+1", "tag=lr-1"),
        ("tag='первый'", "tag='второй'"),
        ("tag=a_b", "tag=a-b"),
        ("tag=a_b", "tag=_a_b"),
        ("cond.include=[a*]", "cond.include=[*a]"),
        ("arch.channels=[4,8]", "arch.channels=[[4,8]]"),
        ("tag=a..b", "tag=a_b"),
        ("training.lr=-1.0", "training.lr=1.0"),
        ("+data.source.a={b:1}", "+data.source.a={b:-1}"),
    ]
    for one, other in pairs:
        assert name(one) != name(other), (one, other)


def test_other_settings_need_another_folder(command, tiny, run):
    run()
    done = command("train.py", *tiny, "run=run", "cond.init=independent", status=1)
    assert "cond.init was copy, now independent" in done.err
    command("train.py", *tiny, "cond.init=independent", "arch.channels=[4,8]")
    (other,) = Path("outputs").glob("*-seed0-*")
    assert "-channels_4_8-init_independent-count_40-" in other.name
    settings = OmegaConf.load(other / "config.yaml").settings
    assert settings["arch.channels"] == [4, 8] and settings["cond.init"] == "independent"
    assert (other / "last.ckpt").exists()


def test_other_images_need_another_folder(command, own):
    train = ["train.py", *own, "data=folder"]
    for first, parent in ((0, "A"), (20, "B")):
        image_folder(f"{parent}/faces", 20, first)
    command(*train, "data.path=A/faces")
    (run,) = Path("outputs").glob("faces-*")
    before = (run / "last.ckpt").read_bytes()
    # Finished, under the same name, but of other images.
    done = command(*train, "data.path=B/faces", status=1)
    assert "was trained on other images" in done.err
    assert (run / "last.ckpt").read_bytes() == before
    # The same images elsewhere are the same run.
    shutil.move("A", "C")
    done = command(*train, "data.path=C/faces")
    assert "is finished" in done.out


def test_what_is_unknown_distinguishes_runs(command, tiny):
    done = command("train.py", "-m", *tiny, "+trainer.benchmark=true,false", "training.steps=1")
    assert "2 runs: 2 done" in done.out, done.err
    assert len(list(Path("outputs").glob("avatars-*-benchmark_*/last.ckpt"))) == 2
    assert [path.name for path in Path().iterdir()] == ["outputs"]


def test_harmless_settings_do_not_distinguish_runs(command, tiny, run):
    before = (run() / "last.ckpt").read_bytes()
    done = command(
        "train.py", *tiny, "logger=tensorboard", "training.show.every=1", "trainer.compile=true",
        "training.steps=3", "eval=[]", "cond.mode=grouped", "data.name=avatars", "run=run",
    )  # fmt: skip
    assert "is finished: 3 steps" in done.out
    assert Path("run/last.ckpt").read_bytes() == before


def test_a_run_ends_with_its_pictures(command, tiny):
    """Whatever the number of steps, and also if it was killed before it could make them."""
    done = command("train.py", *tiny, "run=it", "training.steps=5", "training.show.every=4")
    assert sorted(p.name for p in Path("it/samples").iterdir()) == [
        "step_0000004.png",
        "step_0000005.png",
    ]
    assert logged(Path("it"), "step", of="val_loss") == [3, 4]  # from 0
    assert "it/samples/step_0000005.png" in done.out and "it/lambda.png" in done.out
    assert "python sample.py run=it" in done.out.splitlines()[-2]
    drawn = Path("it/samples/step_0000005.png").read_bytes()
    Path("it/samples/step_0000005.png").unlink()
    done = command("train.py", *tiny, "run=it", "training.steps=5", "training.show.every=4")
    assert Path("it/samples/step_0000005.png").read_bytes() == drawn
    assert "is finished" in command("train.py", *tiny, "run=it", "training.steps=5").out
    command("train.py", *tiny, "run=it", "training.steps=6", "training.show.every=6")
    steps = logged(Path("it"), "step", of="val_loss")
    assert sorted(set(steps)) == [3, 4, 5] and steps.count(5) == 1


def test_a_run_records_what_it_was_made_with(command, tiny, run):
    run()
    command("train.py", *tiny, "run=run", "training.steps=4")
    first, second = map(json.loads, Path("run/sessions.jsonl").read_text().splitlines())
    assert (first["first_step"], second["first_step"]) == (0, 3)
    assert first["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert "CPU" in first["device"]
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    assert (first["commit"] or "").removesuffix("-dirty") == commit
    assert "training.steps=4" in second["command"]
    assert json.loads(Path("run/status.json").read_text())["seconds"] > 0


def test_a_repository_in_which_dpi_is_installed_is_not_its_own(tmp_path, monkeypatch):
    as_somebody = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*as_somebody, "init", "-q"], check=True)
    subprocess.run([*as_somebody, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    file = tmp_path / ".venv/lib/python3/site-packages/dpi/runs/record.py"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr("dpi.runs.record.__file__", str(file))
    record_session(tmp_path, 0, torch.device("cpu"))
    assert json.loads((tmp_path / "sessions.jsonl").read_text())["commit"] is None


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


def test_an_evaluation_after_training_runs_no_code_of_the_folders_configuration(command, tiny, run):
    path = run() / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["source"]["missing"] = {"_target_": "os.mkdir", "path": "owned"}
    path.write_text(yaml.safe_dump(config))
    done = command("train.py", *tiny, "run=run", "eval=[objective]", "eval.objective.pictures=4")
    assert "objective of run" in done.out
    assert not Path("owned").exists()


def test_an_evaluation_follows_the_training_and_is_not_repeated(command, tiny):
    overrides = ["eval=[denoising,interpolation]", "eval.denoising.pictures=4", "run=it"]
    done = command("train.py", *tiny, *overrides)
    assert "denoising of it/last.ckpt, step 3 of 3" in done.out
    stamps = {path: path.stat().st_mtime_ns for path in Path("it").rglob("*.json*")}
    again = command("train.py", *tiny, *overrides)
    assert "is finished" in again.out and "denoising of" not in again.out
    kept = {path: path.stat().st_mtime_ns for path in stamps if path.name != "status.json"}
    assert kept.items() <= stamps.items()
    other = command("train.py", *tiny, *overrides, "eval.denoising.noise_seeds=1")
    assert "denoising of it" in other.out and "interpolation of it" not in other.out
    same = [*tiny, *overrides, "eval.denoising.noise_seeds=1", "eval.denoising.batch_size=3"]
    assert "is finished" in command("train.py", *same).out, "which does not change the errors"


@pytest.mark.parametrize("script", ["train", "evaluate", "sample", "report"])
def test_help_explains_the_keys(command, script):
    done = command(f"{script}.py", "--help")
    assert f"python {script}.py" in done.out
    for key in yaml.safe_load((ROOT / f"configs/{script}.yaml").read_text()):
        if key not in ("defaults", "hydra"):
            assert f"\n{key}:" in done.out, key
    assert "Powered by Hydra" not in done.out


def test_help_of_choices_explains_their_keys(command):
    done = command("train.py", "cond=dpi+film", "eval=[fidelity]", "trainer=gpu", "--help")
    for said in (
        *("experiment  check, comparison, demo, one_scalar", "the normalized step as an"),
        *("schedule: learnable ", "embedding: 64 ", "extractor: inception ", "compile: false"),
    ):
        assert done.out.count(said) == 1, said


def test_a_reader_that_ends_early_ends_the_help_silently(tmp_path):
    command = f"{sys.executable} {ROOT / 'train.py'} --help | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("# Train a conditioned") and done.stderr == ""


MISTAKES = [
    ["train", "cond=mlp"],
    ["train", "data=folder"],
    ["train", "data=folder", "data.path=nowhere"],
    ["train", "training.lrr=1"],
    ["train", "training.steps=many", "data=avatars"],
    ["train", "framework=flow", "eval=[denoising]", "data=avatars"],
    ["evaluate", "eval=[objective]", "run=nowhere"],
    ["evaluate", "eval=[objective]", "eval.objective.scalars=0"],
    ["evaluate", "eval=[denoising]", "run=run"],
    ["sample", "run=nowhere"],
]

FEW = ["data=avatars", "data.count=20", "data.held_out=2"]
LATER = [["train", *FEW, "+cond.foo=1"], ["train", *FEW, "training.show.num_steps=3"]]


def test_mistakes_are_known_before_what_takes_seconds_is_imported(tmp_path, run):
    run("flow")
    code = f"""
import runpy, sys
from hydra.core.global_hydra import GlobalHydra
for script, *words in {MISTAKES + LATER}:
    if words == {LATER[0][1:]}:
        print("first", {{"torch", "lightning", "diffusers", "pandas"}} & set(sys.modules))
    GlobalHydra.instance().clear()
    sys.argv = [f"{ROOT}/{{script}}.py", *words]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        print(error.code, file=sys.stderr)
print("last", {{"lightning"}} & set(sys.modules))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert len(lines) == len(MISTAKES + LATER), done.stderr
    assert all(line.startswith("error: ") for line in lines), lines
    said = (
        "error: eval=denoising: it is only of diffusion, which predicts noise; use eval=objective"
    )
    assert done.stderr.count(said) == 2
    assert {"first set()", "last set()"} <= {*done.stdout.splitlines()}, done.stdout


def test_a_training_that_diverges_stops_and_keeps_its_last_finite_checkpoint(command, tiny):
    diverging = [*tiny, "run=it", "training.lr=1e30", "training.show.log_every=3"]
    command("train.py", *diverging, "training.steps=1")
    done = command(
        "train.py", *diverging, "training.steps=9", "training.show.save_every=9", status=1
    )
    assert "the loss of steps 1 to 3 is not finite: lower" in done.err
    assert "it/last.ckpt is of an earlier step" in done.err and "Traceback" not in done.err
    assert load_checkpoint(Path("it/last.ckpt"))["global_step"] == 1
    assert "the loss of steps 1 to 3 is not finite" in command("status.py", ".").out


def test_a_training_that_diverged_to_finite_numbers_is_warned_of(command, tiny):
    done = command("train.py", *tiny, "run=it", "training.lr=0.3", "training.ema_decay=0")
    assert "this training has diverged; lower training.lr" in done.err


def test_weights_that_are_not_finite_are_not_saved(command, tiny):
    # The loss is that of the weights before the step.
    diverging = ["run=it", "training.lr=1e30", "training.weight_decay=1e38", "training.steps=1"]
    done = command("train.py", *tiny, *diverging, status=1)
    assert "the weights are not finite at step 1: lower" in done.err
    assert "nothing was saved" in done.err and not Path("it/last.ckpt").exists()


def test_a_check_tries_everything_and_keeps_nothing(command, tiny):
    evals = ["eval=[denoising,fidelity,samples,complexity,interpolation]"]
    evals.append("eval.fidelity.extractor=pixels")
    done = command("train.py", *tiny, "experiment=check", *evals, "logger=tensorboard")
    assert "Training: 100% 2/2 [" in done.err and "\r" not in done.err and "█" not in done.err
    for name in ("denoising", "fidelity", "complexity", "interpolation"):
        assert f"{name} of outputs/check/avatars-diffusion-drunet-dpi-tiny-seed0" in done.out
    assert done.out.rstrip().endswith("it works, and was deleted")
    assert not list(Path("outputs/check").iterdir())
    command("status.py", error="no runs")


def test_checks_of_a_sweep_leave_the_runs_alone(command, tiny):
    found = command("train.py", *tiny, "cond=tmap").out
    before = {path: path.stat().st_mtime_ns for path in Path(found.split(":")[0]).rglob("*")}
    done = command("train.py", "-m", *tiny, "cond=tmap,mlp", "experiment=check")
    assert done.out.count("it works, and was deleted") == 1
    assert "2 runs: 1 done, 1 skipped" in done.out
    assert not list(Path("outputs/check").iterdir())
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_check_deletes_what_it_has_made_alone(command, tiny, run):
    before = {path: path.stat().st_mtime_ns for path in run().rglob("*.*") if path.suffix}
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    for path in ("run", "mine", "outputs/check/../../run", "outputs/check/../../mine"):
        done = command("train.py", *tiny, "experiment=check", f"run={path}", status=1)
        assert "deletes its run" in done.err or "with other settings" in done.err
    assert Path("mine/notes.txt").exists()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    done = command("train.py", *tiny, "run=outputs/check/mine")
    assert Path("outputs/check/mine/last.ckpt").exists()
    cosine = ["training.lr_schedule=cosine", "training.warmup_steps=9"]
    command("train.py", *tiny, "experiment=check", *cosine)
    of_sweep = ["sweep=conditioning", "experiment=check", "training.lr=1e-3", "cond=dpi"]
    command("train.py", *tiny, *of_sweep, error="would replace experiment=comparison of this sweep")
    done = command("train.py", *tiny, "experiment=check", "run=elsewhere")
    assert not Path("elsewhere").exists()


def test_a_check_says_what_fails(command, tiny):
    done = command(
        "train.py", *tiny, "experiment=check", "training.lr=1e30", "eval=[denoising]", status=1
    )
    assert "not finite" in done.err and "it works" not in done.out
    assert not list(Path("outputs/check").iterdir())
