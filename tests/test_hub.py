"""Models are saved and loaded again, without pickles and without foreign code."""

import os

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file, save_file
from torch import nn

from dpi.errors import UserError
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
    done = command("evaluate.py", f"run={run}", "eval=objective", "accelerator=cpu", *few)
    assert done.status == 0
    opened = open_run(run)
    SharedModel.from_run(opened).save_pretrained(tmp_path / "it")
    again = SharedModel.from_pretrained(tmp_path / "it")
    noise = torch.randn(2, 3, 8, 8)
    expected = opened.framework.sample(opened.network, noise, 4)
    torch.testing.assert_close(again.sample(noise, 4), expected)
    card = (tmp_path / "it" / "README.md").read_text()
    assert "| objective | objective |" in card and '"_target_": "dpi.conditioning.' in card
    assert "# run, trained for 3 steps" in card and "torch.randn(16, 3, 8, 8)" in card


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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (config("dpi.architectures.DRUNet", "os.mkdir"), "os.mkdir, which may run other code"),
        (
            config('"channels":', '"channels": {"_target_": "dpi.architectures.ADM"}, "c":'),
            "ADM, which",
        ),
        (config("dpi.architectures.DRUNet", "${oc.env:HOME}"), r"has \$\{...\} in a value"),
        (lambda it: (it / "config.json").write_text('{"model": [1]}'), "holds no model"),
        (lambda it: (it / "config.json").unlink(), "holds no model"),
        (pickled, r"holds no model\.safetensors, and pickles"),
        (lambda it: os.truncate(it / "model.safetensors", 1000), "is damaged"),
        (wrong_weights(lambda w: w[:1].clone()), "belongs to another configuration"),
        (wrong_weights(lambda w: w.long()), r"torch\.int64.* there, .*torch\.float32"),
        (wrong_weights(lambda w: w * torch.nan), "is not finite"),
    ],
)
def test_what_is_damaged_or_of_others_is_refused(run, tmp_path, damage, said):
    SharedModel.from_run(open_run(run())).save_pretrained(tmp_path / "it")
    damage(tmp_path / "it")
    with pytest.raises(UserError, match=said):
        SharedModel.from_pretrained(tmp_path / "it")
