"""torch.compile, torch.export and ONNX."""

import onnxruntime
import pytest
import torch
from compatibility import reference as ref
from torch import nn
from torch._dynamo.testing import CompileCounter

from dpi.interpolation import interpolate


def network() -> nn.Sequential:
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(2)
    last = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    return nn.Sequential(*layers, nn.Linear(64, 8), last)


def make(net: nn.Module | None = None, **options) -> nn.Module:
    torch.compiler.reset()
    return ref.perturb(interpolate(net or network(), num_scalars=10, **options).eval())


def batch(size: int) -> torch.Tensor:
    return torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(size))


def assert_same(compiled, g, *args) -> None:
    """Values and gradients."""
    results = []
    for net in (compiled, g):
        y = net(*args)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(g.parameters()))])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


KINDS = {
    "ints": lambda size, k: k,
    "floats": lambda size, k: k / 9,
    "a step as a tensor": lambda size, k: torch.tensor(k),
    "steps": lambda size, k: (torch.arange(size) * k) % 10,
    "fractions": lambda size, k: torch.rand(size, generator=torch.Generator().manual_seed(k)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_graphs_for_any_scalars_and_one_for_each_power_of_two_of_the_size(kind):
    g, counter = make(), CompileCounter()
    net = torch.compile(g, backend=counter, fullgraph=True)
    many = kind in ("steps", "fractions")
    sizes, graphs = ((4, 5, 6, 7, 8, 5, 9, 16), 3) if many else ((4, 3, 5, 6, 2, 9, 9), 2)
    for k, size in enumerate(sizes):
        assert_same(net, g, batch(size), KINDS[kind](size, k + 1))
    assert counter.frame_count <= graphs


@pytest.mark.slow
def test_samples_per_scalar():
    g, counter = make(), CompileCounter()
    g.samples_per_scalar = 2
    net = torch.compile(g, backend=counter, fullgraph=True)
    for s in ([1, 1, 5, 5, 9, 9], [0, 0, 4, 4, 8, 8], [7, 7, 7, 7]):
        assert_same(net, g, batch(len(s)), torch.tensor(s))
    assert net(batch(4), torch.tensor([1, 2, 3, 3])).isnan().all(), "they do not share scalars"
    assert counter.frame_count <= 2


def test_one_scalar_for_a_batch_is_one_call_of_the_plain_network():
    g, graphs = make(), []
    g.samples_per_scalar = 4

    def backend(graph, _):
        graphs.append(graph.code)
        return graph

    net = torch.compile(g, backend=backend, fullgraph=True)
    assert_same(net, g, batch(4), torch.tensor([7, 7, 7, 7]))
    assert net(batch(4), torch.tensor([1, 1, 1, 3])).isnan().all(), "they do not share scalars"
    (code,) = graphs
    assert code.count("conv2d(") == 1 and "vmap" not in code


def test_out_of_range_is_nan():
    net = torch.compile(make(), backend="eager", fullgraph=True)
    y = net(batch(3), torch.tensor([0, 9, 10]))
    assert y[:2].isfinite().all() and y[2].isnan().all()


def test_batch_norm_in_training_mode_needs_to_know_the_groups():
    g = make(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).train()
    net = torch.compile(g, backend="eager")
    assert net(batch(4), torch.tensor(3)).shape == (4, 4, 6, 6)
    with pytest.raises(Exception, match="mixes samples of equal scalars"):
        net(batch(4), torch.arange(4))


@pytest.mark.slow
@pytest.mark.parametrize("s", [3, [0, 4, 9]])
def test_export_and_onnx_with_s_as_an_input(s, tmp_path):
    """One scalar with any batch size; a scalar for each sample with a fixed one."""
    g, s, path = make(), torch.tensor(s), tmp_path / "g.onnx"
    size = torch.export.Dim("size", min=2, max=64)
    how = {"dynamic_shapes": None if s.dim() else ({0: size}, {})}
    exported = torch.export.export(g, (batch(3), s), **how).module()
    torch.onnx.export(g, (batch(3), s), path, dynamo=True, verbose=False, **how)
    session = onnxruntime.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]
    for size in (3,) if s.dim() else (3, 2, 8):
        x = batch(size)
        other = torch.tensor([1, 1, 8]) if s.dim() else torch.tensor(7)
        torch.testing.assert_close(exported(x, other), g(x, other), rtol=1e-4, atol=1e-5)
        (y,) = session.run(None, dict(zip(names, (x.numpy(), other.numpy()), strict=True)))
        torch.testing.assert_close(torch.from_numpy(y), g(x, other), rtol=1e-4, atol=1e-4)
