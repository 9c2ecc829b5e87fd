"""Models are saved and loaded again, without pickles and without foreign code."""

import json

import pytest
import torch
from torch import nn

from dpi.errors import UserError
from dpi.hub import SharedInterpolated, SharedModel
from dpi.interpolation import Range, interpolate
from dpi.runs.run import open_run


class Network(nn.Sequential):
    def forward(self, x, table=None):
        return super().forward(x)


def network() -> nn.Module:
    return Network(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))


def test_an_interpolated_network_comes_back_with_its_options(tmp_path):
    torch.manual_seed(0)
    shared = SharedInterpolated(network(), 50, "learnable", num_sets=3, exclude=["2.*"])
    with torch.no_grad():
        for p in shared.parameters():
            p.add_(torch.randn_like(p))
    shared.save_pretrained(tmp_path / "it")
    saved = {path.name for path in (tmp_path / "it").iterdir()}
    assert saved == {"README.md", "config.json", "model.safetensors"}
    again = SharedInterpolated.from_pretrained(tmp_path / "it", net=network())
    assert repr(again.interpolation) == repr(shared.interpolation) and again.num_sets == 3
    x, s = torch.randn(3, 3, 5, 5), torch.tensor([0, 20, 49])
    torch.testing.assert_close(again(x, s), shared.eval()(x, s))


def test_a_network_that_was_already_trained_is_shared(tmp_path):
    torch.manual_seed(0)
    options = {"num_scalars": 50, "scalar": Range(0.002, 80, log=True), "shared": ["table"]}
    net = interpolate(network(), exclude=["*.bias"], **options)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    SharedInterpolated.of(net).save_pretrained(tmp_path / "it")
    again = SharedInterpolated.from_pretrained(tmp_path / "it", net=network())
    assert (again.interpolation.scalar, again.shared) == (options["scalar"], options["shared"])
    x, s = torch.randn(3, 3, 5, 5), torch.tensor([0.002, 1.0, 80.0])
    torch.testing.assert_close(again(x, s), net.eval()(x, s))


@pytest.mark.parametrize("schedule", ["learnable", "linear", "mixture"])
def test_a_folder_of_an_earlier_version_is_read_or_refused(tmp_path, schedule):
    shared = SharedInterpolated(network(), 50, schedule, exclude=["0.*"])
    shared.save_pretrained(tmp_path / "it")
    path = tmp_path / "it" / "config.json"
    keys = ("num_scalars", "schedule", "endpoints", "between", "num_sets", "include", "exclude")
    config = {key: json.loads(path.read_text())[key] for key in (*keys, "mode", "scalar")}
    config |= {"rank": None, "in_dims": None, "out_dims": None}
    path.write_text(json.dumps(config))
    again = SharedInterpolated.from_pretrained(tmp_path / "it", net=network())
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(again(x, 40), shared.eval()(x, 40))
    for changed in ({"rank": 0.125}, {"in_dims": {"table": None}}, {"schedule": "free"}):
        path.write_text(json.dumps(config | changed))
        with pytest.raises(UserError, match="commit 5255f5f is the last that reads it"):
            SharedInterpolated.from_pretrained(tmp_path / "it", net=network())


def test_a_tied_network_comes_back(tmp_path):
    def tied() -> nn.Module:
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        net[1].weight = net[0].weight
        return net

    shared = SharedInterpolated(tied())
    shared.save_pretrained(tmp_path / "it")
    again = SharedInterpolated.from_pretrained(tmp_path / "it", net=tied())
    torch.testing.assert_close(again(torch.ones(2, 3), 5), shared(torch.ones(2, 3), 5))


@pytest.mark.parametrize(
    ("framework", "arch", "cond"),
    [("diffusion", "drunet", "dpi"), ("flow", "adm", "mlp"), ("diffusion", "drunet", "ncsnv2")],
)
def test_a_trained_model_comes_back_and_samples_the_same(
    run, command, tmp_path, framework, arch, cond
):
    run = run(framework, arch, cond)
    few = ["effort.scalars=4", "effort.noise_seeds=1", "eval.objective.pictures=2"]
    assert (
        command("evaluate.py", f"run={run}", "eval=objective", "accelerator=cpu", *few).status == 0
    )
    opened = open_run(run)
    SharedModel.from_run(opened).save_pretrained(tmp_path / "it")
    again = SharedModel.from_pretrained(tmp_path / "it")
    noise = torch.randn(2, 3, 8, 8)
    expected = opened.framework.sample(opened.network, noise, 4)
    torch.testing.assert_close(again.sample(noise, 4), expected)
    card = (tmp_path / "it" / "README.md").read_text()
    assert "| objective | objective |" in card and '"_target_": "dpi.conditioning.' in card
    assert "trained for 3 steps" in card


def test_neither_code_nor_pickles_are_opened(run, tmp_path):
    SharedModel.from_run(open_run(run())).save_pretrained(tmp_path / "it")
    config = tmp_path / "it" / "config.json"
    text = config.read_text()
    config.write_text(text.replace("dpi.architectures.DRUNet", "os.mkdir"))
    with pytest.raises(UserError, match="names code from outside"):
        SharedModel.from_pretrained(tmp_path / "it")
    config.write_text(text)
    (tmp_path / "it" / "model.safetensors").unlink()
    torch.save({"a": 1}, tmp_path / "it" / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"model\.safetensors|pickles"):
        SharedModel.from_pretrained(tmp_path / "it")


def test_weights_of_another_network_are_refused(tmp_path):
    SharedInterpolated(network()).save_pretrained(tmp_path / "it")
    assert json.loads((tmp_path / "it" / "config.json").read_text())["num_scalars"] == 1000
    with pytest.raises(UserError, match="another network"):
        SharedInterpolated.from_pretrained(tmp_path / "it", net=nn.Conv2d(3, 9, 3))
