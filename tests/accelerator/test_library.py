"""An interpolated network on a device gives what it gives on the CPU, without waiting for it."""

import copy

import pytest
import torch
from accelerator.small import perturbed
from torch import nn

from dpi.interpolation import InterpolationFunction, Range, affine, interpolate

pytestmark = pytest.mark.filterwarnings("error:.*takes one call of the network")

SCALARS = {
    "a float": 0.3,
    "one": torch.tensor(30),
    "mixed": torch.tensor([30, 5, 30, 99]),
    "distinct": torch.tensor([0.3, 1.0, 0.0, 0.71]),
}
OPTIONS = {
    "default": {},
    "grouped": {"mode": "grouped"},
    "three sets": {"num_sets": 3},
    "nearest": {"schedule": InterpolationFunction(100, between="nearest")},
    "partly shared": {"exclude": ["0.*"]},
}


class Block(nn.Module):
    """Convolutions, a norm, a linear layer, and a bias of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU())
        self.head = nn.Linear(8, 3)
        self.bias = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x, scale=1.0):
        y = self.head(self.inner(x).movedim(1, -1)).movedim(-1, 1)
        return x + scale * (y + self.bias)


def twins(accelerator, **options):
    """An interpolated network on the CPU, its copy on the device, and inputs for both."""
    torch.manual_seed(0)
    net = perturbed(interpolate(nn.Sequential(Block(), Block()), num_scalars=100, **options))
    x = torch.randn(4, 3, 8, 8)
    other = copy.deepcopy(net).to(accelerator.device)
    return net, other, x, x.to(accelerator.device)


def run(net, x, s):
    """The output, after the gradients of all parameters were computed."""
    net.zero_grad()
    y = net(x, s)
    y.square().mean().backward()
    return y


def check_gradients(accelerator, other, net):
    for p, q in zip(other.parameters(), net.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            accelerator.check_equal(p.grad, q.grad)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", SCALARS)
def test_scalars_on_the_cpu_need_no_wait(accelerator, options, name):
    """Outputs and gradients, phi's included; the first batch of a shape is checked, with a wait."""
    net, other, x, y = twins(accelerator, **OPTIONS[options])
    s = SCALARS[name]
    with accelerator.waits() as found:
        other(y, s)
    assert len(found) <= 2
    with accelerator.no_waits():
        found = run(other, y, s)
    accelerator.check_equal(found, run(net, x, s))
    check_gradients(accelerator, other, net)


@pytest.mark.parametrize("name", ["mixed", "distinct"])
def test_layers_with_weights_for_each_scalar_need_no_wait(accelerator, name, monkeypatch):
    monkeypatch.setitem(affine.POSITIONS, accelerator.device.type, 0)
    net, other, x, y = twins(accelerator)
    other(y, SCALARS[name])
    with accelerator.no_waits():
        found = run(other, y, SCALARS[name])
    accelerator.check_equal(found, run(net, x, SCALARS[name]))
    check_gradients(accelerator, other, net)


@pytest.mark.parametrize("name", ["one", "mixed", "distinct"])
def test_scalars_on_the_device_need_one_wait(accelerator, name):
    net, other, x, y = twins(accelerator)
    s = SCALARS[name].to(accelerator.device)
    other(y, s)
    with accelerator.waits() as found:
        result = run(other, y, s)
    assert len(found) <= 1, found
    accelerator.check_equal(result, run(net, x, SCALARS[name]))
    check_gradients(accelerator, other, net)


@pytest.mark.parametrize("where", ["the CPU", "the device"])
@pytest.mark.parametrize("scalar", [torch.tensor(0.3), torch.tensor([0.3, 0.1, 0.3, 0.9])])
def test_the_derivative_by_the_scalar(accelerator, scalar, where):
    """Wherever the scalar is, its gradient is there too."""
    net, other, x, y = twins(accelerator)
    s = scalar.clone().requires_grad_()
    run(net, x, s)
    t = scalar.clone().to(accelerator.device if where == "the device" else "cpu").requires_grad_()
    other(y, t)
    with accelerator.waits() as found:
        run(other, y, t)
    assert len(found) <= 1, found  # to check the scalar, or to bring its gradient
    torch.testing.assert_close(t.grad.cpu(), s.grad, atol=1e-5, rtol=1e-5)
    assert t.grad.device == t.device
    check_gradients(accelerator, other, net)


def test_a_range_and_a_further_argument(accelerator):
    """Noise levels in a logarithmic range; a tensor argument that belongs to each sample."""
    torch.manual_seed(0)
    net = perturbed(interpolate(Block(), scalar=Range(0.01, 100, log=True)))
    other = copy.deepcopy(net).to(accelerator.device)
    x, scale = torch.randn(3, 3, 6, 6), torch.rand(3, 1, 1, 1)
    y, there = x.to(accelerator.device), scale.to(accelerator.device)
    for mode in ("auto", "grouped"):
        net.mode = other.mode = mode
        for s in (torch.tensor([0.01, 5.0, 5.0]), 31.0):
            other(y, s, scale=there)
            with accelerator.no_waits():
                found = other(y, s, scale=there)
            accelerator.check_equal(found, net(x, s, scale=scale))


@torch.no_grad()
def test_the_plain_network_of_a_scalar(accelerator):
    net, other, x, y = twins(accelerator, num_sets=3)
    accelerator.check_equal(other.at(30)(y), net(x, 30))


def test_a_network_that_was_on_the_device_before(accelerator):
    torch.manual_seed(0)
    plain, x = Block(), torch.randn(4, 3, 6, 6)
    net = interpolate(copy.deepcopy(plain).to(accelerator.device)).to(accelerator.device)
    y = x.to(accelerator.device)
    accelerator.check_equal(net(y, torch.tensor([0, 5, 500, 5])), plain(x))
