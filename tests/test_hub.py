"""Models are saved and loaded again, without pickles and without foreign code."""

import json

import pytest
import torch
from torch import nn

from dpi.errors import UserError
from dpi.hub import SharedInterpolated, SharedModel
from dpi.interpolation import InterpolationFunction, Mixture, Range, interpolate
from dpi.runs.run import open_run


class Network(nn.Sequential):
    """With batch norm, an argument beside the images, and layers that share a weight."""

    def __init__(self):
        conv, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        tied = nn.Conv2d(3, 3, 3, padding=1)
        tied.weight = conv.weight
        super().__init__(conv, norm, tied)

    def forward(self, x, table=None):
        return super().forward(x)


@pytest.mark.parametrize(
    "schedule",
    [
        InterpolationFunction(50, "learnable", "exact", "nearest", num_sets=3),
        InterpolationFunction(50, "linear", scalar=Range(0.002, 80, log=True)),
        Mixture(3, 50, knots=9),
    ],
    ids=["learnable", "linear", "mixture"],
)
def test_an_interpolated_network_comes_back_with_its_options(tmp_path, schedule):
    torch.manual_seed(0)
    net = interpolate(Network(), schedule=schedule, exclude=["*.bias"], shared=["table"])
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    SharedInterpolated.of(net).save_pretrained(tmp_path / "it")
    saved = {path.name for path in (tmp_path / "it").iterdir()}
    assert saved == {"README.md", "config.json", "model.safetensors"}
    again = SharedInterpolated.from_pretrained(tmp_path / "it", net=Network())
    assert repr(again.interpolation) == repr(schedule) and again.num_sets == schedule.num_sets
    assert (again.interpolation.scalar, again.shared) == (schedule.scalar, ["table"])
    x, s = torch.randn(3, 3, 5, 5), torch.tensor([0.002, 0.51, 1.0])
    torch.testing.assert_close(again(x, s), net.eval()(x, s))


def test_a_folder_of_an_earlier_version_is_read_or_refused(tmp_path):
    shared = SharedInterpolated(Network(), 50, exclude=["0.*"])
    shared.save_pretrained(tmp_path / "it")
    path = tmp_path / "it" / "config.json"
    keys = ("num_scalars", "schedule", "endpoints", "between", "num_sets", "include", "exclude")
    config = {key: json.loads(path.read_text())[key] for key in (*keys, "mode", "scalar")}
    config |= {"rank": None, "in_dims": None, "out_dims": None}
    path.write_text(json.dumps(config))
    again = SharedInterpolated.from_pretrained(tmp_path / "it", net=Network())
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(again(x, 40), shared.eval()(x, 40))
    for key, value in {"rank": 0.125, "in_dims": {"table": None}, "schedule": "free"}.items():
        path.write_text(json.dumps(config | {key: value}))
        with pytest.raises(ValueError, match=key):
            SharedInterpolated.from_pretrained(tmp_path / "it", net=Network())


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


def test_neither_code_nor_pickles_are_opened(run, tmp_path):
    SharedModel.from_run(open_run(run())).save_pretrained(tmp_path / "it")
    config = tmp_path / "it" / "config.json"
    text = config.read_text()
    config.write_text(text.replace("dpi.architectures.DRUNet", "os.mkdir"))
    with pytest.raises(UserError, match="which may run other code"):
        SharedModel.from_pretrained(tmp_path / "it")
    config.write_text(text)
    (tmp_path / "it" / "model.safetensors").unlink()
    torch.save({"a": 1}, tmp_path / "it" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds no model\.safetensors, and pickles"):
        SharedModel.from_pretrained(tmp_path / "it")


def test_weights_of_another_network_are_refused(tmp_path):
    SharedInterpolated(Network()).save_pretrained(tmp_path / "it")
    with pytest.raises(UserError, match="another network"):
        SharedInterpolated.from_pretrained(tmp_path / "it", net=nn.Conv2d(3, 9, 3))
