"""More than two parameter sets, and interpolating only some of the parameters."""

import pytest
import torch
from torch import nn

from dpi.interpolation import interpolate
from dpi.interpolation.lerp import combine_groups, fractions, lerp


@pytest.mark.parametrize("num_sets", [2, 3, 5])
def test_theta_is_piecewise_linear_through_the_sets(num_sets):
    torch.manual_seed(0)
    sets = [[torch.randn(3, 2, dtype=torch.float64)] for _ in range(num_sets)]
    knots = torch.linspace(0, 1, num_sets, dtype=torch.float64)
    for k, knot in enumerate(knots):
        torch.testing.assert_close(lerp(fractions(knot, num_sets), sets), sets[k])
    for k, between in enumerate((knots[:-1] + knots[1:]) / 2):
        theta = lerp(fractions(between, num_sets), sets)[0]
        torch.testing.assert_close(theta, (sets[k][0] + sets[k + 1][0]) / 2)
    c = fractions(torch.tensor(0.37).double(), num_sets)
    assert torch.equal(lerp(c, [sets[0]] * num_sets)[0], sets[0][0])


@pytest.mark.parametrize("num_sets", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_match_finite_differences(num_sets, dtype):
    torch.manual_seed(0)
    sets = [torch.randn(2, 3, dtype=dtype, requires_grad=True) for _ in range(2 * num_sets)]
    for weight in (0.1, 0.45, 0.9):
        weight = torch.tensor(weight, dtype=torch.float64, requires_grad=True)

        def run(weight, *sets):
            c = fractions(weight, num_sets)
            return tuple(lerp(c, [sets[2 * k : 2 * k + 2] for k in range(num_sets)]))

        assert torch.autograd.gradcheck(run, (weight, *sets))
    parts = [torch.randn(2, 3, dtype=dtype, requires_grad=True) for _ in range(num_sets)]
    c = torch.rand(num_sets - 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, *parts: combine_groups(c, parts), (c, *parts))


def test_three_sets_receive_gradients_and_the_second_applies_halfway():
    torch.manual_seed(0)
    g = interpolate(nn.Linear(2, 2), num_scalars=11, schedule="linear", num_sets=3)
    with torch.no_grad():
        g.theta1.bias.add_(1)
        g.theta2.bias.add_(5)
    x = torch.randn(11, 2)
    offset = (g(x, torch.arange(11)) - g.theta0(x)).mean(dim=1)
    expected = torch.tensor([0, 0.2, 0.4, 0.6, 0.8, 1, 1.8, 2.6, 3.4, 4.2, 5])
    torch.testing.assert_close(offset, expected)
    g(x, torch.arange(11)).sum().backward()
    assert all(p.grad is not None for p in g.parameters())
    assert g.last_run == "11 samples, each its own scalar: one pass"
    with pytest.raises(ValueError, match="num_sets"):
        interpolate(nn.Linear(2, 2), num_sets=1)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1, bias=False))


@pytest.mark.parametrize("mode", ["grouped", "one_pass"])
def test_excluded_parameters_are_shared(mode):
    torch.manual_seed(0)
    g = interpolate(network(), include=["0.*", "1.*"], exclude=["*.bias"], mode=mode).eval()
    assert g.doubled == ["0.weight", "1.weight"]
    assert [name for name, _ in g.theta1.named_parameters()] == g.doubled
    with torch.no_grad():
        for p in g.theta1.parameters():
            p.add_(torch.randn_like(p))
    x, s = torch.randn(3, 2, 5, 5), torch.tensor([0, 500, 999])
    y = g(x, s)
    torch.testing.assert_close(y, torch.cat([g(x[i : i + 1], s[i]) for i in range(3)]))
    y.sum().backward()
    assert all(p.grad is not None for p in g.parameters())
    last = network()
    last.load_state_dict(g.theta0.state_dict() | g.theta1.state_dict())
    torch.testing.assert_close(g(x, 999), last(x))


def test_repr_lists_what_is_shared():
    text = repr(interpolate(network(), exclude=["2.*"], num_sets=3))
    # The first convolution has 4*2*9 + 4 parameters, the norm 4 + 4, the last convolution 8.
    assert "3 sets of 84 of 92 parameters, mode=auto; shared: 2.weight" in text
    assert "shared" not in repr(interpolate(network()))


def test_a_tied_parameter_matches_by_any_of_its_names():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    g = interpolate(net, include="1.*")
    assert g.doubled == ["0.weight", "1.bias"]
    assert g.theta1[0].weight is g.theta1[1].weight and g.theta1[0].bias is None


@pytest.mark.parametrize("patterns", [{"include": ["encoder.*"]}, {"exclude": ["head.*"]}])
def test_invalid_patterns_raise(patterns):
    with pytest.raises(ValueError, match="matches none of the parameters"):
        interpolate(network(), **patterns)
    with pytest.raises(ValueError, match="no parameters to interpolate"):
        interpolate(network(), exclude=["*"])
    with pytest.raises(ValueError, match="mode"):
        interpolate(network(), mode="fast")


@pytest.mark.parametrize("num_sets", [2, 3])
def test_runs_on_the_meta_device(num_sets):
    with torch.device("meta"):
        g = interpolate(network(), num_sets=num_sets, mode="grouped")
        x = torch.empty(1, 2, 5, 5)
    assert g(x, torch.tensor(0)).shape == (1, 2, 3, 3)
