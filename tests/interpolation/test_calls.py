"""What g(x, s) does with its arguments and outputs, and what it leaves behind."""

from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import compatibility.reference as ref
import pytest
import torch
from compatibility.networks import SEQ, case, linear
from compatibility.reference import PAIRS, Case, right
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from dpi.interpolation import interpolate

S = torch.tensor(PAIRS)
Pair = namedtuple("Pair", "first second")
A, B = torch.randn(6, 1).double(), torch.randn(6, 3).double()
ROW, ONE = torch.ones(1, 3).double(), torch.ones(()).double()


class Calls(nn.Linear):
    """A linear layer whose output passes through a function of the further arguments."""

    def __init__(self, function: Any):
        super().__init__(8, 3)
        self.function = function

    def forward(self, x, *args, **kwargs):
        return self.function(super().forward(x), *args, **kwargs)


def make(net: nn.Module | None = None, **options: Any) -> Any:
    return ref.perturb(interpolate(net or linear(), num_scalars=10, **options).double().eval())


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (lambda y, a, *, b: y[:, 0] * a + b["b"][0] + b["b"][1], (A,), {"b": {"b": (B, 1.5)}}),
        (lambda y, pair: y * pair.first + pair.second, (Pair(ROW, ONE),), {}),
        (lambda y, *, name, f: f(y) if name == "a" else y, (), {"name": "a", "f": torch.tanh}),
        (lambda y: (y, [y * 2, y[:, 0]]), (), {}),
        (lambda y: {"y": y, "half": Pair(y / 2, y[..., 0])}, (), {}),
    ],
)
def test_arguments_and_outputs_of_any_structure(function, args, kwargs):
    assert right(Case(lambda: Calls(function), (SEQ, *args), kwargs)) == ("right", "")


def test_outputs_keep_their_types():
    g = make(Calls(lambda y: {"y": y, "none": None, 3: 3.0, "pair": Pair(y, ["a", (y,)])}))
    y, found = g(SEQ, S)["y"], g(SEQ, S)
    assert repr(found) == repr(g.theta0.function(y))


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        (lambda y, t: y, (torch.randn(5, 3),), {}, r"shape \(5, 3\) in a batch of 6 scalars"),
        (lambda y, labels: y, (), {"labels": list("abcdef")}, "as many items as there are samples"),
        (lambda y, labels: y, (), {"labels": object()}, "holds a object, not split by sample"),
        (lambda y: (y, y.mean()), (), {}, "no clear sample dimension"),
        (lambda y: (y, y.sum().item()), (), {}, "one value for each sample"),
        (lambda y: y.transpose(0, 1), (), {}, "no clear sample dimension"),
        (lambda y: [y] * (1 + int(y.sum() > 0)), (), {}, "differ in structure"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*one call of the network for each")
def test_what_cannot_be_split_or_joined_is_refused(function, args, kwargs, message):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=message):
        make(Calls(function))(SEQ, S, *args, **kwargs)


class Looks(nn.Linear):
    def forward(self, x, table):
        return super().forward(x) @ table.mT


def test_a_shared_table_with_as_many_rows_as_samples():
    g, table = make(Looks(8, 3), shared="table"), torch.randn(6, 3).double()
    expected = torch.cat([g(SEQ[i : i + 1], s, table) for i, s in enumerate(PAIRS)])
    torch.testing.assert_close(g(SEQ, S, table=table), expected)


def test_a_batch_without_samples():
    for s in (S[:0], 3):
        assert make()(SEQ[:0], s).shape == (0, 5, 3)


@pytest.mark.parametrize("s", [torch.zeros(0), "3", None, float("nan"), S[:, None], True])
def test_a_wrong_scalar_is_one_line(s):
    with pytest.raises((ValueError, TypeError)) as error:
        make()(SEQ[:4], s)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_networks_with_different_numbers_of_steps():
    few, many, s = make(), interpolate(linear(), num_scalars=1000).double(), S * 100
    y = many(SEQ, s) + few(SEQ, s / 999)
    torch.testing.assert_close(y[2], (many(SEQ, 400) + few(SEQ, 400 / 999))[2])
    with pytest.raises(ValueError, match=r"must be in \[0, 9\], got 900"):
        few(SEQ, s)


class Named(nn.Module):
    """Takes its input last, has arguments called s and net, and attributes of many names."""

    def __init__(self):
        super().__init__()
        self.mode = self.shared = self.interpolation = self.doubled = "mine"
        self.checkpointing, self.keys, self.values = 0.5, 2.0, 3.0
        self.query = nn.Linear(8, 8)

    def forward(self, s=None, w=None, net=1, x=None):
        assert (self.mode, self.shared, self.interpolation, self.doubled) == ("mine",) * 4
        return self.query(x) * self.keys + self.values * net + self.checkpointing * (w is None)


def test_names():
    subject = Case(Named, (), {"x": SEQ, "net": 2})
    assert right(subject) == ("right", "")
    g = subject.interpolated()
    g.keys = 5.0
    assert g.theta0.keys == 2.0 and g.theta0.mode == "mine" and g.mode == "auto"


class Leaving(nn.Module):
    """Leaves attention maps, counters and lists behind, and a sum in a buffer."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.maps = nn.Linear(8, 8), 0, [1]
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x):
        self.calls, self.last = self.calls + 1, x
        self.maps.append(self.layer(x))
        self.total += 1
        return self.maps[-1]


@pytest.mark.parametrize("s", [3, PAIRS])
@pytest.mark.parametrize("mode", ["auto", "grouped"])
def test_a_pass_leaves_nothing_behind_but_buffers(mode, s):
    g, seen = make(Leaving(), mode=mode), []
    before = {name: p.clone() for name, p in g.named_parameters()}
    g.theta0.layer.register_forward_hook(lambda layer, args, y: seen.append(y.sum().detach() + 0))
    y = g(SEQ, torch.tensor(s))
    assert g.theta0.calls == 0 and g.theta0.maps == [1] and not hasattr(g.theta0, "last")
    assert g.theta0.total > 0 and all(torch.equal(p, before[n]) for n, p in g.named_parameters())
    assert all(type(p) is nn.Parameter for p in g.theta0.parameters())
    if mode == "grouped" or s == 3:
        torch.testing.assert_close(sum(seen), y.sum())


def test_a_failing_pass_leaves_nothing_behind():
    g = make(nn.Sequential(nn.Linear(8, 8), Calls(lambda y: {}["mine"])))
    for s in (3, S, torch.arange(6)):
        with pytest.raises(KeyError, match="mine"):
            g(SEQ, s)
        assert all(type(p) is nn.Parameter for p in g.parameters())


@pytest.mark.parametrize("mode", ["auto", "grouped"])
def test_dropout_differs_between_samples_and_scalars(mode):
    g = make(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), mode=mode).train()
    masks = g(torch.ones(6, 400, 8).double(), S) == 0
    assert 0.45 < masks.double().mean() < 0.55
    assert all((masks[i] != masks[j]).any() for i in range(6) for j in range(i))


@pytest.mark.filterwarnings("ignore:.*one call of the network for each")
def test_the_order_of_samples_does_not_matter():
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(5), nn.Linear(8, 3))
    g, order = make(net).train(), torch.tensor([4, 2, 0, 1, 5, 3])
    torch.testing.assert_close(g(SEQ[order], S[order]), g(SEQ, S)[order])


@pytest.mark.filterwarnings("ignore:.*one call of the network for each")
def test_a_way_that_changes_between_calls():
    """A float or an attribute chooses between ways, one of which cannot be run in one pass."""

    def use(net, x, how):
        return net.a(x) if how + net.how > 1 else torch.stack([net.b(v) for v in x if v.sum() < 99])

    subject = case(use, lambda net: setattr(net, "how", 0.1), 0.9)
    g = subject.interpolated()
    for how in (0.1, 0.95, 0.1, 0.95):
        subject.args = (SEQ, how)
        ref.assert_same(ref.found(g, PAIRS, subject.args, {}), ref.by_hand(subject, g, PAIRS), 1e-7)


def test_cached_parametrizations_are_refused():
    net = linear()
    parametrizations.weight_norm(net[0])
    g = make(net)
    expected = g(SEQ, 3)
    with parametrize.cached(), pytest.raises(RuntimeError, match=r"parametrize\.cached"):
        g(SEQ, 3)
    torch.testing.assert_close(g(SEQ, 3), expected)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_forward_passes_before_one_backward_pass(checkpointing):
    subject = Case(linear, (SEQ,), options={"checkpointing": checkpointing})
    g = subject.interpolated()
    outputs = g(SEQ, S), g(SEQ, 3)
    sum(ref.loss([y]) for y in outputs).backward()
    first, second = ref.by_hand(subject, g, PAIRS), ref.by_hand(subject, g, 3)
    for name, p in g.named_parameters():
        name = f"gradient of {name}"
        torch.testing.assert_close(p.grad, first[name] + second[name])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_threads(checkpointing):
    g = make(checkpointing=checkpointing)
    parameters, scalars = list(g.parameters()), (3, S, torch.arange(6), torch.tensor(8))

    def run(s):
        y = g(SEQ, s)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), parameters)]

    expected = [run(s) for s in scalars]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, scalars * 20))
    torch.testing.assert_close(results, expected * 20)


class Function(nn.Module):
    """A network that calls its layer from a function."""

    def __init__(self, kind: str = ""):
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.kept = {
            "closure": [lambda x: self.layer(x)],
            "default": {"f": lambda x, layer=self.layer: layer(x)},
            "parameter": [lambda x, w=self.layer.weight: x @ w.t()],
            "bound": [lambda x, run=self.layer.forward: run(x)],
            "partial": [partial(lambda x: self.layer(x))],
        }.get(kind, [self.harmless, lambda x: x.sum(0)])

    def harmless(self, x):
        return self.layer(x)

    def forward(self, x):
        return self.layer(x)


layer = Function().layer  # no layer of another network, though it has the name


@pytest.mark.parametrize("kind", ["closure", "default", "parameter", "bound", "partial", "hook"])
def test_a_copy_whose_functions_would_use_the_original_is_refused(kind):
    net = make(Function(kind))
    if kind == "hook":
        net.theta0.register_forward_hook(lambda module, args, y: y + net.theta0.layer(*args))
    with pytest.raises(RuntimeError, match="from a function, and so would a copy of it"):
        net.at(0.5)


def test_functions_that_do_not_refer_to_the_network_are_copied():
    net = make(Function())
    found = net.at(0.5)
    torch.testing.assert_close(found(SEQ), net(SEQ, 0.5))
    torch.testing.assert_close(found.kept[0](SEQ), net(SEQ, 0.5))


class Written(nn.Module):
    """A network that writes into a weight before it uses it."""

    def __init__(self, kind: nn.Module, write: Any):
        super().__init__()
        self.layer, self.write = kind, write

    def forward(self, x):
        with torch.no_grad():
            self.write(self.layer)
        return self.layer(x)


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (nn.Conv2d(2, 3, 3), lambda layer: layer.weight[:, :, 1, 1].zero_()),
        (nn.Conv2d(2, 3, 3), lambda layer: layer.weight.clamp_(-0.1, 0.1)),
        (nn.Conv2d(2, 3, 3), lambda layer: layer.bias.zero_()),
        (nn.Conv2d(2, 3, 3), lambda layer: layer.weight.div_(layer.weight.norm())),
    ],
)
def test_what_is_written_into_weights_in_one_pass_is_used(kind, write):
    net = make(Written(kind, write))
    x, s = torch.randn(4, 2, 5, 5).double(), torch.tensor([0.0, 0.3, 0.6, 1.0])
    expected = [net.at(one)(x[i : i + 1]) for i, one in enumerate(s)]
    torch.testing.assert_close(net(x, s), torch.cat(expected))


def test_rows_of_which_some_parameters_are_shared():
    net = make(nn.GRU(8, 3, batch_first=True), include=["weight*"])
    torch.testing.assert_close(net(SEQ, 0.3)[0], net.at(0.3)(SEQ)[0])
