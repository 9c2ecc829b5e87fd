"""Coefficients that need not be monotone, and sets that differ at low rank."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from dpi.hub import SharedInterpolated
from dpi.interpolation import Range, interpolate, operations, parameter_groups

OPTIONS = {
    "mixture": {"schedule": "mixture", "num_sets": 3},
    "free": {"schedule": "free", "num_sets": 3},
    "low rank": {"schedule": "free", "num_sets": 4, "rank": 2},
    "a fraction of the rank": {"schedule": "free", "num_sets": 3, "rank": 0.25},
    "low rank, monotone": {"rank": 1},
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False),
        nn.Flatten(2),
        nn.Linear(64, 3),
    )


def make(**options) -> nn.Module:
    torch.manual_seed(0)
    g = interpolate(network(), num_scalars=21, **options).double().eval()
    with torch.no_grad():
        for p in g.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return g


def theta_by_hand(g: nn.Module, name: str, s: int) -> torch.Tensor:
    """The parameter `name` at step s, from the definitions."""
    function, knots = g.interpolation, 33
    where = s / 20 * (knots - 1)
    low = min(int(where), knots - 2)
    phi = function.phi.float()
    if isinstance(g.low_rank, nn.Module) and not hasattr(function, "mixture"):
        c = [function.table()[s]]
    else:
        c = phi[:, low] + (where - low) * (phi[:, low + 1] - phi[:, low])
    theta0 = g.theta0.get_parameter(name)
    if g.low_rank is not None:
        key = name.replace(".", "/")
        v = g.low_rank.v[key]
        if key in g.low_rank.u:
            u = g.low_rank.u[key]
            v = torch.einsum("kor,krn->kon", u, v.flatten(2)).reshape(len(v), *theta0.shape)
        return theta0 + sum(c_k * v_k for c_k, v_k in zip(c, v, strict=True))
    sets = [theta.get_parameter(name) for theta in g.sets()]
    if function.mixture:
        return sum(p * theta for p, theta in zip(c.softmax(0), sets, strict=True))
    steps = [above - below for below, above in pairwise(sets)]
    return theta0 + sum(c_k * step for c_k, step in zip(c, steps, strict=True))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    ("mode", "positions"), [("one_pass", 0), ("one_pass", 1e9), ("grouped", 0)]
)
def test_each_sample_is_run_with_theta_of_its_scalar(options, mode, positions, monkeypatch):
    # In one pass, each product is computed with interpolated weights, or with the parts.
    monkeypatch.setattr(operations, "POSITIONS", positions)
    monkeypatch.setattr(operations, "MEMORY", float("inf"))
    g = make(**options, mode=mode)
    x = torch.randn(6, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    s = torch.tensor([3, 20, 3, 0, 20, 0])
    y = g(x, s)

    def alone(i: int) -> torch.Tensor:
        theta = {name: theta_by_hand(g, name, s[i]) for name in g.doubled}
        return torch.func.functional_call(g.theta0, theta, (x[i : i + 1],))

    expected = torch.cat([alone(i) for i in range(6)])
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    variables = [x, *g.parameters()]
    found = torch.autograd.grad(y.square().sum(), variables)
    wanted = torch.autograd.grad(expected.square().sum(), variables)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(g.at(7)(x), g(x, 7))
        torch.testing.assert_close(g.bake([3])(x, 3), g(x, 3))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_pretrained_network_is_kept_at_the_start(options):
    net = network().eval()
    x, s = torch.randn(3, 2, 4, 4), torch.tensor([0, 400, 999])
    g = interpolate(copy.deepcopy(net), **options)
    torch.testing.assert_close(g(x, s), net(x))
    other = network()
    g.load_plain(other.state_dict())
    torch.testing.assert_close(g(x, s), other(x))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_reaches_every_parameter(options):
    torch.manual_seed(0)
    g = interpolate(network(), **options)
    optimizer = torch.optim.AdamW(parameter_groups(g, lr=1e-2, lr_lambda=1e-2))
    before = copy.deepcopy(list(g.parameters()))
    for step in range(3):
        x = torch.randn(8, 2, 4, 4)
        (g(x, torch.rand(8)) - step).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all((p != q).any() for p, q in zip(g.parameters(), before, strict=True))


def test_the_rank_is_that_of_each_weight_and_vectors_have_no_rank():
    g = interpolate(network(), schedule="free", num_sets=3, rank=0.5)
    shapes = {key: tuple(u.shape) for key, u in g.low_rank.u.items()}
    # Full ranks: 8 of (8, 2*3*3), 8 of (8, 4*2*2), 3 of (3, 64).
    assert shapes == {"0/weight": (2, 8, 4), "3/weight": (2, 8, 4), "5/weight": (2, 3, 2)}
    assert g.low_rank.v["0/weight"].shape == (2, 4, 2, 3, 3)
    assert g.low_rank.v["1/bias"].shape == (2, 8)
    assert "3 sets of" in repr(g) and "that differ at rank 0.5" in repr(g)


def test_a_mixture_starts_with_a_set_for_each_part_of_the_range():
    g = interpolate(network(), schedule="mixture", num_sets=4)
    c = torch.cat([torch.ones(1, 1000), g.interpolation.table(), torch.zeros(1, 1000)])
    p = c[:-1] - c[1:]
    torch.testing.assert_close(p.sum(dim=0), torch.ones(1000))
    assert p[:, [0, 333, 666, 999]].argmax(dim=0).tolist() == [0, 1, 2, 3]


def test_phi_has_its_own_learning_rate_and_the_range_of_s_applies():
    g = interpolate(network(), schedule="free", num_sets=3, rank=1, scalar=Range(1, 0))
    groups = parameter_groups(g, lr=1e-3, lr_lambda=1e-2)
    assert [p is g.interpolation.phi for p in groups[1]["params"]] == [True]
    x = torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        for v in g.low_rank.v.values():
            v.normal_()
    other = interpolate(g.theta0, schedule="free", num_sets=3, rank=1, scalar=Range(0, 1))
    other.load_state_dict(g.state_dict())
    torch.testing.assert_close(g(x, 0.2), other(x, 0.8))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_sharing_keeps_the_form_of_the_sets(options, tmp_path):
    g = make(**options).float()
    SharedInterpolated.of(g).save_pretrained(tmp_path)
    again = SharedInterpolated.from_pretrained(tmp_path, net=network())
    x, s = torch.randn(3, 2, 4, 4), torch.tensor([0, 4, 20])
    torch.testing.assert_close(again(x, s), g(x, s))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be"),
        ({"rank": 1.5}, "rank must be"),
        ({"rank": 1, "init": "independent"}, "start as copies"),
        ({"schedule": "wavy"}, "schedule must be"),
    ],
)
def test_impossible_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        interpolate(network(), **options)
