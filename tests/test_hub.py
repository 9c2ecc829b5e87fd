"""Models are saved and loaded again, without pickles and without foreign code."""

import os
import shutil
import socket

import numpy as np
import pytest
import torch
from conftest import ROOT
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file, save_file
from torch import nn

from dpi.data import to_uint8
from dpi.errors import UserError
from dpi.frameworks.draw import start_noise
from dpi.hub import SharedModel
from dpi.interpolation import interpolate
from dpi.runs.run import open_run


class Shared(nn.Module, PyTorchModelHubMixin):
    """As docs/LIBRARY.md has it; with batch norm, and layers that share a weight."""

    def __init__(self, width: int = 3, schedule: str = "learnable") -> None:
        super().__init__()
        conv, norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        tied = nn.Conv2d(width, width, 3, padding=1)
        tied.weight = conv.weight
        self.net = interpolate(nn.Sequential(conv, norm, tied), schedule=schedule)

    def forward(self, x, s):
        return self.net(x, s)


@pytest.mark.parametrize("schedule", ["learnable", "mixture"])
def test_an_interpolated_network_is_shared_by_a_class_around_it(tmp_path, schedule):
    shared = Shared(4, schedule)
    with torch.no_grad():
        for p in shared.parameters():
            p.normal_()
    shared.save_pretrained(tmp_path / "it")
    saved = {path.name for path in (tmp_path / "it").iterdir()}
    assert saved == {"README.md", "config.json", "model.safetensors"}
    again = Shared.from_pretrained(tmp_path / "it").eval()
    x, s = torch.randn(3, 4, 5, 5), torch.tensor([0.002, 0.51, 1.0])
    torch.testing.assert_close(again(x, s), shared.eval()(x, s))


@pytest.mark.parametrize(
    ("framework", "arch", "cond"), [("diffusion", "drunet", "dpi"), ("flow", "adm", "mlp")]
)
def test_a_trained_model_comes_back_and_samples_the_same(
    run, command, tmp_path, framework, arch, cond
):
    run = run(framework, arch, cond)
    few = ["effort.scalars=4", "effort.noise_seeds=1", "eval.objective.pictures=2"]
    command("evaluate.py", f"run={run}", "eval=objective", "accelerator=cpu", *few)
    (run / "evaluation/earlier.json").write_text('[{"metric": "mse", "value": 1, "settings": {}}]')
    opened = open_run(run)
    SharedModel.from_run(opened).save_pretrained(tmp_path / "it")
    again = SharedModel.from_pretrained(tmp_path / "it")
    noise = torch.randn(2, 3, 8, 8)
    expected = opened.framework.sample(opened.network, noise, 4)
    torch.testing.assert_close(again.sample(noise, 4), expected)
    card = (tmp_path / "it" / "README.md").read_text()
    assert "| objective | objective |" in card and '"_target_": "dpi.conditioning.' in card
    assert "# run, trained for 3 steps" in card and "torch.randn(16, 3, 8, 8)" in card


def test_the_model_in_the_repository_draws_what_sample_py_draws(command):
    folder = ROOT / "examples/model"
    model = SharedModel.from_pretrained(folder)
    images = model.sample(start_noise(0, range(4), model.shape), 20)
    assert images.std() > 0.3, "pictures, not a grey"
    command(
        *("sample.py", f"run={folder}", "device=cpu", "n=4", "steps=20", "npz=true", "out=drawn")
    )
    with np.load("drawn.npz") as file:
        assert np.array_equal(file["arr_0"], to_uint8(images))
    assert sum(path.stat().st_size for path in folder.glob("*.*")) < 5e6
    refused = command("sample.py", f"run={folder}", "checkpoint=best.ckpt", status=1)
    assert "holds model.safetensors alone" in refused.err


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """The folder of a shared model."""
    folder = tmp_path_factory.mktemp("saved") / "it"
    SharedModel.from_run(open_run(trained("diffusion", "drunet", "dpi"))).save_pretrained(folder)
    return folder


def wrong_weights(change):
    """Changes the first convolution's weights."""

    def write(folder):
        path = folder / "model.safetensors"
        state = load_file(path)
        name = "network.theta0.head.weight"
        save_file(state | {name: change(state[name])}, path)

    return write


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"a": 1}, folder / "pytorch_model.bin")


def config(old, new):
    """Replaces text in the configuration."""

    def write(folder):
        text = (folder / "config.json").read_text()
        assert old in text
        (folder / "config.json").write_text(text.replace(old, new))

    return write


def text(content):
    """Replaces the configuration by a text, in Latin-1."""
    return lambda folder: (folder / "config.json").write_text(content, encoding="latin-1")


def folder_instead(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (config("dpi.architectures.DRUNet", "os.mkdir"), "os.mkdir, which may run other code"),
        (
            config('"channels":', '"channels": {"_target_": "dpi.architectures.ADM"}, "c":'),
            "ADM, which",
        ),
        (config("dpi.architectures.DRUNet", "${oc.env:HOME}"), r"has \$\{...\} in a value"),
        (text("not JSON"), r"config\.json cannot be read: Expecting value"),
        (text(""), r"config\.json cannot be read"),
        (text("\xff"), r"config\.json cannot be read: .* codec can't decode"),
        (text("[" * 100_000), r"config\.json cannot be read: it is nested too deep"),
        (text("[1]"), "holds no model"),
        (text("null"), "holds no model"),
        (text('{"model": [1]}'), "holds no model"),
        (lambda it: (it / "config.json").unlink(), r"config\.json cannot be read: .* No such file"),
        (folder_instead, r"config\.json cannot be read"),
        (config('"image_size": 8', '"image_size": "16"'), r"image_size=16: .* integer"),
        (config('"image_size": 8', '"image_size": -3'), r"image_size=-3: .* greater than"),
        (config('"image_size": 8', '"image_size": NaN'), "NaN is no finite number"),
        (config('"image_size": 8', '"image_size": "???"'), r"image_size is missing$"),
        (config('"image_channels": 3', '"image_channels": 5'), r"image_channels=5: .* less than"),
        (config('"channels": [', '"channels": ["???", '), r"cannot be built for .* Missing value"),
        (config('"precondition": false', '"precondition": 1'), r"framework\.precondition=1"),
        (pickled, r"holds no model\.safetensors, and pickles"),
        (lambda it: os.truncate(it / "model.safetensors", 1000), "is damaged"),
        (wrong_weights(lambda w: w[:1].clone()), "belongs to another configuration"),
        (wrong_weights(lambda w: w.long()), r"torch\.int64.* there, .*torch\.float32"),
        (wrong_weights(lambda w: w * torch.nan), "is not finite"),
    ],
)
def test_what_is_damaged_or_of_others_is_refused(saved, tmp_path, damage, said):
    damage(shutil.copytree(saved, tmp_path / "it"))
    with pytest.raises(UserError, match=said):
        SharedModel.from_pretrained(tmp_path / "it")


@pytest.mark.parametrize("source", ["there/nothing", "/nowhere/it", "a/b/c", "no name"])
def test_a_folder_that_does_not_exist_is_not_asked_for(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a network is asked"))
    with pytest.raises(UserError, match=f"^{source} does not exist|^{source} is no folder"):
        SharedModel.from_pretrained(source)


def test_what_the_hub_does_not_have_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^someone/model is no folder, and the Hub") as caught:
        SharedModel.from_pretrained("someone/model", local_files_only=True, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
