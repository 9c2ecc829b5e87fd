"""Arguments and outputs of grouped batches: split by sample and put together, or refused."""

import dataclasses
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import nn

from dpi.interpolation import interpolate

S = torch.tensor([7, 2, 7, 0])
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Output:
    sample: torch.Tensor
    scale: float = 2.0


class Network(nn.Linear):
    """A linear layer whose output passes through a function of the further arguments."""

    def __init__(self, function: Any) -> None:
        super().__init__(3, 3)
        self.function = function

    def forward(self, x, *args, **kwargs):
        return self.function(super().forward(x), *args, **kwargs)


def make(function: Any = lambda y: y, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    g = interpolate(Network(function), num_scalars=10, mode="grouped", **options)
    with torch.no_grad():
        for p in g.parameters():
            p.add_(torch.randn_like(p))
    return g


def alone(g: nn.Module, *args: Any, **kwargs: Any) -> list[Any]:
    """The outputs of one sample at a time, given a function of i for each argument."""
    return [
        g(X[i : i + 1], S[i], *(a(i) for a in args), **{k: v(i) for k, v in kwargs.items()})
        for i in range(4)
    ]


def test_arguments_inside_dicts_tuples_and_dataclasses_are_split():
    g = make(lambda y, a, *, more: y * a.sample * a.scale + more["b"][0] + more["b"][1])
    a, b = torch.randn(4, 1), torch.randn(4, 3)
    found = g(X, S, Output(a), more={"b": (b, 1.5)})
    one = [slice(i, i + 1) for i in range(4)]
    expected = alone(g, lambda i: Output(a[one[i]]), more=lambda i: {"b": (b[one[i]], 1.5)})
    torch.testing.assert_close(found, torch.cat(expected))


def test_a_table_with_as_many_rows_as_samples_is_declared():
    g = make(lambda y, table: y @ table.mT, in_dims={"table": None})
    g._arguments.append("table")  # the network above takes *args
    table = torch.randn(4, 3)
    torch.testing.assert_close(g(X, S, table), torch.cat(alone(g, lambda i: table)))
    g = make(lambda y, table: y @ table.mT)
    g.mode = "auto"
    with pytest.raises(ValueError, match="belong to all samples"):
        g(X, S, table)
    with pytest.raises(ValueError, match=r"shape \(5, 3\) in a batch of 4 scalars; declare"):
        make(lambda y, table: y @ table.mT)(X, S, torch.randn(5, 3))


@pytest.mark.parametrize("value", [[3, 1, 2, 0], ["a", "b", "c", "d"]])
def test_a_list_with_one_item_per_sample_is_refused(value):
    with pytest.raises(ValueError, match="list of as many items"):
        make(lambda y, labels: y)(X, S, labels=value)


def test_an_object_of_unknown_kind_is_refused():
    class Labels:
        rows = torch.arange(4)

    with pytest.raises(ValueError, match="has a Labels, not split by sample; declare"):
        make(lambda y, labels: y)(X, S, labels=Labels())


def test_a_batch_in_another_dimension_is_declared_or_refused():
    g = interpolate(nn.LSTM(3, 2), num_scalars=10, in_dims={"input": 1}, out_dims=(1, (1, 1)))
    with torch.no_grad():
        g.theta1.weight_hh_l0.add_(1)
    x = torch.randn(5, 4, 3)
    y, (h, _) = g(x, S)
    for i in range(4):
        y_i, (h_i, _) = g(x[:, i : i + 1], S[i])
        torch.testing.assert_close(y[:, i : i + 1], y_i)
        torch.testing.assert_close(h[:, i : i + 1], h_i)
    with pytest.raises(ValueError, match="each of the 5 samples"):
        interpolate(nn.LSTM(3, 2), num_scalars=10)(x, S)
    with pytest.raises(ValueError, match="out_dims"):
        interpolate(nn.LSTM(3, 2, batch_first=True), num_scalars=10)(x.mT.mT.transpose(0, 1), S)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: {"y": y, "none": None, "number": 3.0, "name": "a"},
        lambda y: (y, [y * 2, None]),
        lambda y: Pair(y, 1),
        Output,
    ],
)
def test_outputs_of_any_structure_are_put_together(wrap):
    g = make(wrap)
    plain = make()
    found, expected = g(X, S), wrap(plain(X, S))
    assert type(found) is type(expected)
    if isinstance(found, Output):
        found, expected = vars(found), vars(expected)
    leaves = torch.utils._pytree.tree_leaves
    for ours, wanted in zip(leaves(found), leaves(expected), strict=True):
        assert torch.equal(ours, wanted) if isinstance(ours, torch.Tensor) else ours == wanted


@pytest.mark.parametrize("wrap", [lambda y: (y, y.mean()), lambda y: (y, y.sum().item())])
def test_an_output_that_mixes_samples_is_refused(wrap):
    with pytest.raises(ValueError, match=r"cannot be assembled|one value per sample"):
        make(wrap)(X, S)


def test_keyword_and_dict_input():
    g = make()
    torch.testing.assert_close(g(s=S, x=X), g(X, S))
    d = interpolate(nn.ModuleDict({"layer": nn.Linear(3, 3)}), num_scalars=10)
    d.theta0.forward = lambda batch: batch["x"]
    with pytest.raises(TypeError, match="is missing"):
        g(X)


def test_a_batch_without_samples():
    g = make()
    assert g(X[:0], S[:0]).shape == (0, 3)
