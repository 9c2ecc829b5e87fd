"""Autocast rounds neither scalars nor what enters and leaves a network; float32 is not TF32."""

import functools

import pytest
import torch
from accelerator.small import adm, drunet
from torch import nn

from dpi.architectures import ADM
from dpi.conditioning import DPI, MLP, Compose, FiLM, Mixture, SigmaMap, TMap
from dpi.evaluation.evaluate import make_fabric
from dpi.evaluation.extractors import feature_network
from dpi.frameworks import VPDiffusion

CONDITIONED = {
    "drunet-dpi+film+tmap": (drunet, functools.partial(Compose, dpi=DPI, film=FiLM, tmap=TMap)),
    "drunet-sigmamap": (drunet, SigmaMap),
    "drunet-mixture": (drunet, Mixture),
    "adm-dpi+mlp": (adm, functools.partial(Compose, dpi=DPI, mlp=MLP)),
    "adm-film": (adm, FiLM),
    "adm-tmap": (adm, TMap),
}
HALF = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])


@pytest.fixture(params=CONDITIONED)
def g(request):
    return made(*CONDITIONED[request.param])


def made(network, cond):
    """A conditioned network in which no layer is zero and the parameter sets differ."""
    torch.manual_seed(0)
    g = cond(network=network, framework=VPDiffusion())
    with torch.no_grad():
        for p in g.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return g.eval()


@torch.no_grad()
def test_no_two_scalars_are_rounded_to_one(g):
    x, s = torch.randn(1, 3, 4, 4).expand(1000, -1, -1, -1), torch.arange(1000)
    with torch.autocast("cpu", torch.bfloat16):
        y = g(x, s)
    assert len(y.flatten(1).unique(dim=0)) == 1000


@HALF
@torch.no_grad()
def test_scalars_and_images_enter_in_float32(g, half):
    """The first layers, and those of embeddings, give what they give without autocast."""
    found = []
    names = ("head", "project", "embed") + (("encoder.0",) if uses_adm(g) else ())
    for name, layer in g.named_modules():
        if name.endswith(names):
            layer.register_forward_hook(lambda _, x, y, name=name: found.append((name, y)))
    x = torch.randn(2, 3, 4, 4)
    for s in (torch.tensor(333), torch.tensor([0, 666])):
        found.clear()
        y = g(x, s)
        expected = dict(found)
        with torch.autocast("cpu", half):
            rounded = g(x, s)
        assert rounded.dtype == torch.float32
        assert (rounded - y).abs().mean() < 0.05 * y.std()
        assert len(found) == 2 * len(expected) > 0
        assert all(y.dtype == torch.float32 for _, y in found)
        if s.dim() == 0:  # a layer within `torch.vmap` sees no numbers
            assert all(torch.equal(y, expected[name]) for name, y in found)


def uses_adm(g):
    return any(isinstance(module, ADM) for module in g.modules())


@HALF
@pytest.mark.parametrize("s", [torch.tensor(333), torch.tensor([0, 666])])
def test_all_in_between_is_in_half_precision(g, half, s):
    """Float32 would take twice the memory and, on a GPU, up to twice the time."""
    ends = ("head", "tail", "embed", "project", "out", "encoder.0")
    found = {}
    for name, layer in g.named_modules():
        inside = not any(f".{end}." in f".{name}." for end in ends)
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.GroupNorm) and inside:
            layer.register_forward_hook(lambda _, x, y, n=name: found.update({n: (x[0], y)}))
        if type(layer).__name__ == "ResidualBlock":
            layer.register_forward_hook(lambda _, x, y, n=name: found.update({n: (x[0], y)}))
    with torch.autocast("cpu", half):
        g.train()(torch.randn(2, 3, 4, 4), s)
    assert found
    for name, tensors in found.items():
        assert {tensor.dtype for tensor in tensors} == {half}, name


@HALF
@pytest.mark.parametrize("cond", [DPI, Mixture])
def test_parameters_are_interpolated_in_float32(cond, half):
    g = made(drunet, cond)
    expected = dict(g.at(333).named_parameters())
    with torch.autocast("cpu", half):
        found = dict(g.at(333).named_parameters())
    for name, theta in found.items():
        assert torch.equal(theta, expected[name]), name


@pytest.mark.filterwarnings("error:.*takes one call of the network")
def test_a_batch_of_many_scalars_trains_in_one_pass(g):
    x, s = torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 500, 999])
    with torch.autocast("cpu", torch.bfloat16):
        y = g.train()(x, s)
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in g.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_left_alone(g, dtype):
    x, s = torch.randn(2, 3, 4, 4, dtype=dtype), torch.tensor([3, 700])
    assert g.to(dtype)(x, s).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert g(x, s).dtype == dtype
    with pytest.raises(RuntimeError, match="type"):
        g.float()(x, s)


@torch.no_grad()
def test_a_compiled_network_has_no_graph_break(g):
    torch.compiler.reset()
    x, s = torch.randn(2, 3, 4, 4), torch.tensor([3, 700])
    compiled = torch.compile(g, backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x, s), g(x, s), rtol=0.02, atol=0.02)


def test_nothing_uses_tf32(tiny, run, command):
    commands = {
        "features": lambda: feature_network("random"),
        "an evaluation": lambda: make_fabric("cpu", 1, "32-true"),
        "samples": lambda: command("sample.py", f"run={run()}", "n=1", "steps=1"),
        "a training": lambda: command("train.py", *tiny, "run=it", "training.steps=1"),
    }
    for name, do in commands.items():
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        do()
        assert torch.get_float32_matmul_precision() == "highest", name
        assert not torch.backends.cudnn.allow_tf32 and torch.backends.cudnn.enabled, name
