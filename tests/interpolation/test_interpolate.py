"""What `interpolate` makes: its options, and what it refuses."""

import copy
import subprocess
import sys

import pytest
import torch
from compatibility.networks import SEQ, X, linear
from compatibility.reference import PAIRS, Case, by_hand, right
from torch import nn

import dpi.interpolation
from dpi.interpolation import InterpolationFunction, Mixture, Range, interpolate, parameter_groups

S = torch.tensor(PAIRS)


def network() -> nn.Sequential:
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU()
    return nn.Sequential(*layers, nn.ConvTranspose2d(4, 2, 2, stride=2))


def tied() -> nn.Sequential:
    """A parameter of two layers, and a layer used twice."""
    first = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(first, nn.Tanh(), nn.Conv2d(3, 3, 3, padding=1), nn.Tanh(), first)
    net[2].weight = first.weight
    return net


def by_softmax(phi, sets, s):
    where = s / 9 * 32
    k = min(int(where), 31)
    return (phi[:, k] + (where - k) * (phi[:, k + 1] - phi[:, k])).softmax(0)


def exact(phi, sets, s):
    lam = phi.softmax(0).cumsum(0)
    return [(1 - lam[s]) / (1 - lam[0]), (lam[s] - lam[0]) / (1 - lam[0])]


EXACT = InterpolationFunction(10, endpoints="exact")
OPTIONS = {
    "two sets": {},
    "five sets": {"options": {"num_sets": 5}},
    "exact": {"options": {"schedule": EXACT}, "weights": exact},
    "linear": {
        "options": {"schedule": "linear"},
        "weights": lambda phi, sets, s: [torch.tensor(1 - s / 9), s / 9],
    },
    "mixture": {"options": {"schedule": "mixture", "num_sets": 3}, "weights": by_softmax},
    "a Mixture": {"options": {"schedule": Mixture(2, 10)}, "weights": by_softmax},
    "include": {"options": {"include": ["0.*"], "exclude": "*.bias"}},
}


@pytest.mark.parametrize("make", [network, tied])
@pytest.mark.parametrize("name", OPTIONS)
def test_theta_is_the_weighted_sum_of_the_sets(name, make):
    case = Case(make, (X,), tolerance=2e-5, **copy.deepcopy(OPTIONS[name]))
    assert right(case) == ("right", "")


@pytest.mark.parametrize("options", [{}, {"num_sets": 3}, {"schedule": "mixture"}])
def test_a_pretrained_network_is_kept_at_the_start(options):
    net, x = network(), X.float()
    g = interpolate(copy.deepcopy(net), **options)
    for s in (0, 400, 0.77, 999, S, S / 10):
        torch.testing.assert_close(g(x, s), net(x))


def test_what_is_doubled_and_what_is_shared():
    g = interpolate(network(), include=["0.*", "1.*"], exclude=["*.bias"], num_sets=3)
    assert g.doubled == ["0.weight", "1.weight"] and g.num_sets == 3
    for theta in (g.theta1, g.theta2):
        assert [name for name, _ in theta.named_parameters()] == g.doubled
    assert "3 sets of 112 of 154 parameters; shared: 0.bias, 1.bias, 3.weight, 3.bias" in repr(g)
    g = interpolate(tied(), include="2.*")
    assert g.doubled == ["0.weight", "2.bias"] and g.theta1[0].weight is g.theta1[2].weight


def test_buffers_belong_to_theta0_and_either_half_loads_into_the_plain_network():
    g = interpolate(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))).train()
    g(X.float(), 3)
    assert not list(g.theta1.buffers()) and g.theta0[1].num_batches_tracked == 1
    plain = interpolate(network())
    for theta in (plain.theta0, plain.theta1):
        network().load_state_dict(theta.state_dict())


def test_parameter_groups():
    g = interpolate(network())
    weights, phi = parameter_groups(nn.ModuleDict({"inside": g}), lr=1e-5, lr_lambda=1e-3)
    assert phi == {"params": [g.interpolation.phi], "lr": 1e-3}
    assert len(weights["params"]) == 2 * len(list(network().parameters()))
    groups = parameter_groups(g, 1e-5, 1e-3, weight_decay_lambda=0)
    weights, phi = torch.optim.AdamW(groups, weight_decay=0.05).param_groups
    assert (weights["weight_decay"], phi["weight_decay"]) == (0.05, 0)
    assert len(parameter_groups(network(), lr=1e-5, lr_lambda=1e-3)) == 1


def with_integers() -> nn.Module:
    net = linear()
    net.index = nn.Parameter(torch.arange(3), requires_grad=False)
    return net


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (network, {"mode": "fast"}, "mode must be"),
        (network, {"schedule": "wavy"}, "'learnable', 'linear', 'mixture'"),
        (network, {"schedule": EXACT, "scalar": Range(0, 1)}, "give scalar= to the schedule"),
        (network, {"schedule": EXACT, "num_sets": 3}, "give num_sets= to the schedule"),
        (network, {"include": ["encoder.*"]}, "matches none of the parameters"),
        (network, {"exclude": ["*"]}, "no parameters to interpolate"),
        (with_integers, {}, r"exclude=\['index'\]"),
    ],
)
def test_what_cannot_be_interpolated_is_refused(make, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        interpolate(make(), **options)


CHANGES = {
    "another layer": lambda g: g.theta0.append(nn.Linear(2, 2)),
    "a layer removed from theta1": lambda g: g.theta1.__setitem__(0, nn.Identity()),
    "a bias removed": lambda g: g.theta0[0].register_parameter("bias", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_structure_that_changed_after_interpolate_is_refused(name):
    g = interpolate(network())
    CHANGES[name](g)
    with pytest.raises(RuntimeError, match="changed since `interpolate`"):
        g(X.float(), 3)


def test_at_is_the_plain_network_without_a_trace():
    case = Case(network, (X,))
    g = case.interpolated()
    for s in (0, 3, torch.tensor([9])):
        plain = g.at(s)
        assert [type(layer) for layer in plain] == [type(layer) for layer in network()]
        assert not plain[0]._forward_pre_hooks
        assert plain.state_dict().keys() == network().state_dict().keys()
        torch.testing.assert_close(plain(X), by_hand(case, g, int(s))["output 0"])
        nn.init.zeros_(plain[0].weight)
        assert g.theta0[0].weight.any(), "at() must return a copy"
    for s, message in ((torch.tensor([1, 2]), "one scalar"), (10, "must be in")):
        with pytest.raises(ValueError, match=message):
            g.at(s)


def test_two_scalars():
    case = Case(lambda: interpolate(linear(), num_scalars=10), (SEQ, S))
    right(case)
    g = case.interpolated()
    assert g.theta1.interpolation.phi is None, "lambda is not interpolated itself"
    torch.testing.assert_close(g.at(3).at(4)(SEQ)[2], g(SEQ, 3, S)[2])


@pytest.mark.parametrize(
    ("package", "needs"), [("interpolation", ""), ("conditioning", "einops, ")]
)
def test_it_imports_only_torch_and_conditionings_einops(package, needs):
    code = (
        f"import sys, {needs}torch.utils.flop_counter; before = set(sys.modules);"
        f"import dpi.{package};"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(new - sys.stdlib_module_names - {'torch'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'dpi'}"
    assert callable(dpi.interpolation.interpolate), "the function rather than the submodule"
