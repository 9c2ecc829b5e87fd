"""net.at(s) is a plain network that exports and compiles; net.bake(steps) precomputes several."""

import numpy as np
import pytest
import torch
from torch import nn

from dpi.architectures import DRUNet
from dpi.interpolation import interpolate


@pytest.fixture
def g() -> nn.Module:
    torch.manual_seed(0)
    g = interpolate(DRUNet(channels=(4, 8), num_blocks=1)).eval()
    with torch.no_grad():
        for p in g.theta1.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return g


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("s", [0, 333, 0.25, 999])
def test_plain_network_has_the_same_output(g, s):
    plain = g.at(s)
    assert type(plain) is DRUNet
    assert plain.state_dict().keys() == g.theta0.state_dict().keys()
    torch.testing.assert_close(plain(X), g(X, s))
    with torch.no_grad():
        plain.head.weight.zero_()
    assert g.theta0.head.weight.any(), "at() must return a copy"


def test_at_requires_one_scalar_in_range(g):
    with pytest.raises(ValueError, match="one scalar"):
        g.at(torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="must be in"):
        g.at(1000)


def test_torch_export(g):
    exported = torch.export.export(g.at(333), (X,)).module()
    torch.testing.assert_close(exported(X), g(X, 333))


@pytest.mark.slow
def test_onnx_export(g, tmp_path):
    import onnxruntime

    path = tmp_path / "net.onnx"
    torch.onnx.export(g.at(333), (X,), path, input_names=["x"], dynamo=True)
    (y,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": X.numpy()})
    assert np.abs(y - g(X, 333).detach().numpy()).max() < 1e-5


@pytest.mark.slow
def test_torch_compile(g):
    compiled = torch.compile(g.at(333))
    torch.testing.assert_close(compiled(X), g(X, 333), rtol=1e-4, atol=1e-5)


def test_baked_networks_have_the_same_output_and_accept_no_other_scalars(g):
    baked = g.bake([0, 333, 1.0])
    for s in (0, torch.tensor(333), 999, 1.0):
        torch.testing.assert_close(baked(X, s), g(X, s))
    with torch.no_grad():
        g.theta0.head.weight.zero_()
        assert baked(X, 0).any()
    for s in (334, torch.tensor([0, 333])):
        with pytest.raises(ValueError, match="one of the 3 baked scalars"):
            baked(X, s)


def test_a_pretrained_network_is_unchanged_at_initialization():
    torch.manual_seed(0)
    trained = DRUNet(channels=(4, 8), num_blocks=1).eval()
    before = trained(X)
    g = interpolate(trained).eval()
    for s in (0, 500, 0.123, 999, torch.tensor([3, 700])):
        torch.testing.assert_close(g(X, s), before)
