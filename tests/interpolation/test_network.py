"""g(x, s) is Equation (2), for any network and batch of scalars, in outputs and gradients."""

import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from dpi.interpolation import interpolate, parameter_groups
from dpi.interpolation.lerp import lerp


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Conv2d(4, 2, 3),
    )


class Tied(nn.Module):
    """One layer used twice, and one parameter shared by two layers."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.again = self.inner
        self.outer = nn.Linear(6, 6, bias=False)
        self.outer.weight = self.inner.weight

    def forward(self, x):
        return self.outer(self.again(torch.tanh(self.inner(x))))


NETWORKS = {
    "convolutional": (convolutional, (2, 6, 6)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    "tied": (Tied, (6,)),
}


def make_network(name: str, **options) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    g = interpolate(make(), num_scalars=10, **options).double().eval()
    with torch.no_grad():
        for p in g.theta1.parameters():
            p.add_(0.3 * torch.randn_like(p))
        if g.interpolation.phi is not None:
            g.interpolation.phi.copy_(torch.randn(10))
    return g, torch.randn(6, *shape, dtype=torch.float64)


def equation_2(g: nn.Module, x: torch.Tensor, s: int) -> torch.Tensor:
    """f([1 - lambda(s)] theta0 + lambda(s) theta1, x), as written in the paper."""
    weight = g.interpolation(torch.tensor(s))
    theta1 = dict(g.theta1.named_parameters())
    theta = {n: (1 - weight) * p + weight * theta1[n] for n, p in g.theta0.named_parameters()}
    if isinstance(g.theta0, Tied):
        hidden = torch.tanh(x @ theta["inner.weight"].T + theta["inner.bias"])
        return (hidden @ theta["inner.weight"].T + theta["inner.bias"]) @ theta["inner.weight"].T
    return functional_call(g.theta0, theta, (x,))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("s", [0, 4, 9])
def test_output_is_equation_2(name, s):
    g, x = make_network(name)
    torch.testing.assert_close(g(x, s), equation_2(g, x, s))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_equation_2(name):
    g, x = make_network(name)
    target = torch.randn_like(g(x, 3))
    grads = []
    for run in (lambda: g(x, 3), lambda: equation_2(g, x, 3)):
        g.zero_grad()
        ((run() - target) ** 2).mean().backward()
        grads.append([p.grad.clone() for p in g.parameters()])
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", NETWORKS)
@given(s=st.lists(st.integers(0, 9), min_size=6, max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_batch_equals_its_samples_one_at_a_time(name, s):
    g, x = make_network(name)
    alone = torch.cat([g(x[i : i + 1], s[i]) for i in range(6)])
    torch.testing.assert_close(g(x, torch.tensor(s)), alone)
    with torch.no_grad():
        torch.testing.assert_close(g(x, torch.tensor(s)), alone)


def test_a_batch_has_the_gradients_of_its_samples():
    g, x = make_network("convolutional")
    s = torch.tensor([7, 2, 2, 9, 0, 7])
    grads = []
    for run in (
        lambda: g(x, s).square().sum(),
        lambda: sum(g(x[i : i + 1], s[i]).square().sum() for i in range(6)),
    ):
        g.zero_grad()
        run().backward()
        grads.append([p.grad.clone() for p in g.parameters()])
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected)


def test_exact_endpoints_are_the_two_parameter_sets():
    g, x = make_network("convolutional", endpoints="exact")
    torch.testing.assert_close(g(x, 0), g.theta0(x))
    # theta1 has no buffers of its own; this network needs none.
    torch.testing.assert_close(g(x, 9), g.theta1(x))


def test_with_init_copy_the_output_does_not_depend_on_s():
    net = convolutional()
    before = copy.deepcopy(net)
    g = interpolate(net)
    x = torch.randn(2, 2, 6, 6)
    for s in (0, 400, 0.77, 999):
        assert torch.equal(g(x, s), before(x))


def test_independent_init_reinitializes_all_but_constant_tensors():
    net = convolutional()
    nn.init.zeros_(net[4].weight)
    g = interpolate(net, init="independent")
    theta1 = dict(g.theta1.named_parameters())
    for name, p in g.theta0.named_parameters():
        constant = bool((p == p.flatten()[0]).all())
        assert torch.equal(p, theta1[name]) == constant, name


def test_either_half_of_the_state_dict_loads_into_the_plain_network():
    g, x = make_network("convolutional")
    net = convolutional().double()
    net.load_state_dict(
        {k.removeprefix("theta1."): v for k, v in g.state_dict().items() if k.startswith("theta1.")}
    )
    torch.testing.assert_close(net(x), g.theta1(x))


def test_phi_has_its_own_learning_rate():
    g, _ = make_network("convolutional")
    weights, phi = parameter_groups(nn.ModuleDict({"inside": g}), lr=1e-5, lr_lambda=1e-3)
    assert phi == {"params": [g.interpolation.phi], "lr": 1e-3}
    assert sum(p.numel() for p in weights["params"]) == 2 * sum(
        p.numel() for p in g.theta0.parameters()
    )
    assert len(parameter_groups(convolutional(), lr=1e-5, lr_lambda=1e-3)) == 1


def test_phi_has_its_own_weight_decay():
    g, _ = make_network("convolutional")
    groups = parameter_groups(g, lr=1e-5, lr_lambda=1e-3, weight_decay_lambda=0)
    weights, phi = torch.optim.AdamW(groups, weight_decay=0.05).param_groups
    assert (weights["weight_decay"], phi["weight_decay"]) == (0.05, 0)


def test_memory_format_is_preserved():
    g, x = make_network("convolutional")
    expected = g(x, 5)
    g.to(memory_format=torch.channels_last)
    weight, *_ = lerp(torch.tensor([0.4]), g._parameters_of_sets())
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(g(x.to(memory_format=torch.channels_last), 5), expected)


@pytest.mark.parametrize("s", [torch.tensor([1, 2]), torch.ones(6, 1, dtype=torch.long)])
def test_s_of_the_wrong_shape_raises(s):
    g, x = make_network("convolutional")
    with pytest.raises(ValueError, match="one scalar or one for each"):
        g(x, s)


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="no parameters"):
        interpolate(nn.ReLU())
    with pytest.raises(ValueError, match="init"):
        interpolate(nn.Linear(2, 2), init="zeros")

    class WithoutReset(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(ValueError, match="reset_parameters"):
        interpolate(WithoutReset(), init="independent")


def test_imports_only_torch():
    code = (
        "import sys, torch.utils.flop_counter; before = set(sys.modules); import dpi.interpolation;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(new - sys.stdlib_module_names - {'torch'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'dpi'}"


def test_the_package_exports_the_function_rather_than_the_submodule():
    import dpi.interpolation.interpolate
    import dpi.interpolation.network

    assert callable(dpi.interpolation.interpolate)
    assert dpi.interpolation.interpolate is interpolate
