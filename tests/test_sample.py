"""python sample.py: sample i is a function of the run, the seed and i; foreign code is not run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def run(run) -> Path:
    """A finished run, the working directory beside it."""
    return run()


def drawn(command, *overrides: str) -> np.ndarray:
    command("sample.py", "run=run", "steps=4", "npz=true", "out=drawn", *overrides)
    with np.load("drawn.npz") as file:
        return file["arr_0"]


def test_a_sample_depends_on_seed_and_index_alone(command, run):
    samples = drawn(command, "n=7", "png=true")
    singles = [np.asarray(Image.open(path)) for path in sorted(Path("drawn-png").iterdir())]
    assert np.array_equal(singles, samples) and Path("drawn-png/000006.png").exists()
    assert samples.shape == (7, 8, 8, 3) and samples.dtype == np.uint8
    assert Image.open("drawn.png").mode == "RGB"
    for overrides in (["n=7", "batch_size=1"], ["n=7", "batch_size=3"], ["n=5", "batch_size=4"]):
        again = drawn(command, *overrides)
        # Another batch size may round a value to the next of the 256 levels.
        assert np.abs(again.astype(int) - samples[: len(again)]).max() <= 1
    assert np.abs(drawn(command, "n=7", "seed=1").astype(int) - samples).max() > 1
    done = command("sample.py", "run=run", "n=6", "png=true", "out=drawn", status=1)
    assert "drawn-png holds other images: delete it" in done.err


@pytest.mark.parametrize("out", ["it/drawn.png", "it/drawn.npz", "it/drawn"])
def test_files_have_one_suffix(command, run, out):
    command("sample.py", "run=run", "steps=2", "n=1", "npz=true", f"out={out}")
    assert {path.name for path in Path("it").iterdir()} == {
        "drawn.png",
        "drawn.npz",
    }


def test_samples_are_of_the_averaged_weights(command, run):
    before = drawn(command, "n=2")
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    for tensor in checkpoint["current_model_state"].values():
        tensor.zero_()
    torch.save(checkpoint, run / "last.ckpt")
    assert np.array_equal(drawn(command, "n=2"), before)
    for tensor in checkpoint["state_dict"].values():
        tensor.zero_()
    torch.save(checkpoint, run / "last.ckpt")
    assert not np.array_equal(drawn(command, "n=2"), before)


@pytest.mark.parametrize(
    ("target", "replacement"),
    [
        ("_target_: dpi.architectures.DRUNet", "_target_: os.mkdir"),
        ("_target_: dpi.architectures.DRUNet", "_target_: dpi.hub.json.os.mkdir"),
        ("_target_: dpi.data.Avatars", "_target_: dpi.data.save_npz"),
        ("num_blocks: 1\n  dropout", "num_blocks: {_target_: os.mkdir, path: owned}\n  dropout"),
    ],
)
def test_a_foreign_configuration_instantiates_nothing(command, run, target, replacement):
    config = run / "config.yaml"
    assert target in config.read_text()
    config.write_text(config.read_text().replace(target, replacement))
    evaluate = ["evaluate.py", "run=run", "eval=objective", "accelerator=cpu"]
    for overrides in (["sample.py", "run=run", "n=1"], evaluate):
        command(*overrides, error="which may run other code; if you know")
        assert not Path("owned").exists()


def test_a_foreign_configuration_writes_nothing_elsewhere(command, run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("\n  name: avatars", "\n  name: ../../owned"))
    done = command("evaluate.py", "run=run", "eval=objective", "accelerator=cpu", status=1)
    assert "data.name=../../owned: is part of a folder" in done.err


def test_a_run_can_be_moved(command, run):
    before = drawn(command, "n=1")
    shutil.move("run", "elsewhere")
    shutil.copytree("elsewhere", "run")
    assert np.array_equal(drawn(command, "n=1"), before)
