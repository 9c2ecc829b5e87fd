"""The affine layers in both ways of computing, in every precision, and FiLM."""

import dataclasses

import pytest
import torch
from compatibility import reference as ref
from compatibility.networks import SEQ, X, listed_in_yaml
from compatibility.reference import PAIRS, Case, right
from torch import nn

from dpi.interpolation import FiLM, Range, affine, interpolate
from dpi.interpolation.film import sinusoidal

S = torch.tensor(PAIRS)
LAYERS = listed_in_yaml("Layers")


@pytest.mark.parametrize("options", [{}, {"num_sets": 3}])
@pytest.mark.parametrize("name", LAYERS)
def test_an_affine_layer_in_both_ways(name, options):
    case = dataclasses.replace(LAYERS[name], options=options)
    plain, g = case.plain(), case.interpolated()
    assert type(g.theta0).__name__ == f"Interpolated{name.split()[0]}"
    assert isinstance(g.theta0, type(plain)) and type(g.theta1) is type(plain)
    assert right(case) == ("right", "")


@pytest.mark.parametrize("num_sets", [2, 3])
def test_which_way_an_affine_layer_takes(num_sets, monkeypatch):
    def products(positions):
        monkeypatch.setattr(affine, "POSITIONS", {"cpu": positions})
        with torch.no_grad(), torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            g(X, S)
        return round(counter.get_total_flops() / (2 * 6 * 8 * 8 * 3 * 4))

    g = interpolate(nn.Conv2d(3, 4, 1), num_sets=num_sets).double()
    assert products(128) == 1, "two samples of 64 positions: interpolated weights"
    assert products(129) == num_sets, "a product for each set"


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.conv, self.lin = nn.GroupNorm(1, 3), nn.Conv2d(3, 4, 3), nn.Linear(6, 2)
        self.gain = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        return self.lin(torch.tanh(self.conv(self.norm(x)) * self.gain))


def test_float64():
    right(Case(Network, (X,)))


def test_bfloat16():
    right(Case(Network, (X,), dtype=torch.bfloat16, tolerance=8e-2))


def test_float16():
    right(Case(Network, (X,), dtype=torch.float16, tolerance=1e-2))


def test_autocast():
    def wrap(g):
        return lambda x, s: torch.autocast("cpu", torch.bfloat16)(g)(x, s)

    right(Case(Network, (X,), dtype=torch.float32, tolerance=8e-2, wrap=wrap))


@pytest.mark.parametrize("mode", ["auto", "grouped"])
def test_lambda_is_not_rounded_to_half_precision(mode):
    # bfloat16 has 2^-8 near 1, the steps of lambda are 2^-10.
    g = interpolate(nn.Linear(1, 1, bias=False), num_scalars=1024, schedule="linear", mode=mode)
    with torch.no_grad():
        g.theta0.weight.fill_(0), g.theta1.weight.fill_(256)
    s = torch.tensor([1021, 1020])
    y = g.bfloat16()(torch.ones(2, 1).bfloat16(), s)
    assert torch.equal(y[:, 0], (256 * s / 1023).bfloat16())


def convolutions() -> nn.Sequential:
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.ConvTranspose2d(4, 6, 2, groups=2)
    return nn.Sequential(*layers, nn.Flatten(2), nn.Linear(81, 5))


def film_by_hand(net: FiLM, x, t):
    """h_i = (1 + a_i) (W_i h + bias_i) + b_i for the steps t of the samples."""
    y = net.project(net.embed(sinusoidal(t, net.embedding).double()))
    scales, shifts = y.chunk(2, dim=1)
    done = 0
    for name, layer in net.network.named_children():
        x = layer.forward(x)
        if name in net.widths:
            mine = slice(done, done := done + net.widths[name])
            shape = (len(x), 1, -1) if isinstance(layer, nn.Linear) else (len(x), -1, 1, 1)
            x = (1 + scales[:, mine].reshape(shape)) * x + shifts[:, mine].reshape(shape)
    return x


@pytest.mark.parametrize(("include", "widths"), [("*", [4, 6, 5]), (["0", "4"], [4, 5])])
def test_film(include, widths):
    net = FiLM(convolutions(), num_scalars=10, include=include, embedding=8).double()
    assert list(net.widths.values()) == widths
    torch.testing.assert_close(net(X, S), film_by_hand(net, X, S * 0)), "zero at first"
    ref.perturb(net)
    variables = list(net.parameters())
    for s, t in ((S, S), (3, torch.full((6,), 3)), (S / 9, S)):
        results = []
        for y in (net(X, s), film_by_hand(net, X, t)):
            results.append([y, *torch.autograd.grad(ref.loss([y]), variables)])
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_film_with_interpolation():
    make = lambda: FiLM(convolutions(), num_scalars=10, embedding=8)  # noqa: E731
    assert right(Case(make, (X, S), tolerance=1e-6)) == ("right", "")


def test_film_refuses():
    with pytest.raises(ValueError, match="4 has FiLM already: choose other layers"):
        FiLM(FiLM(convolutions(), include=["4"]).network)
    attention = nn.TransformerEncoderLayer(8, 2, 16)  # does not call a layer of its attention
    assert [*FiLM(attention).widths] == ["linear1", "linear2"]
    with pytest.raises(ValueError, match="'9' matches none of the linear and conv"):
        FiLM(convolutions(), include="9")
    net = FiLM(nn.Sequential(nn.Flatten(0, 1), nn.Linear(8, 8)), scalar=Range(1, 0)).double()
    with pytest.raises(RuntimeError, match="FiLM modulates samples"):
        net(SEQ, torch.rand(6))
    with pytest.raises(RuntimeError, match="runs outside of FiLM"):
        net.network(SEQ)
