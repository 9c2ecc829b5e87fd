"""lambda(s), what s may be, and the weights of mixtures."""

from functools import partial
from math import inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpi.interpolation import InterpolationFunction, Mixture, Range, look_up, position

STEPS = torch.arange(5)
COUNTS, CHOICES = ("num_scalars", "num_sets"), ("schedule", "endpoints", "between")


def with_phi(values: list[float], *args, **options) -> InterpolationFunction:
    function = InterpolationFunction(len(values), *args, **options)
    function.phi.data = torch.tensor(values)
    return function


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=50))
@settings(max_examples=50)
def test_the_table_is_the_cumulative_sum_of_the_paper(values):
    p = torch.tensor(values).double().softmax(0)
    by_hand = torch.stack([p[: i + 1].sum() for i in range(len(p))])
    exact = torch.stack([p[1 : i + 1].sum() for i in range(len(p))]) / p[1:].sum()
    for endpoints, expected in (("paper", by_hand), ("exact", exact)):
        table = with_phi(values, endpoints=endpoints).table()
        torch.testing.assert_close(table.double(), expected, atol=1e-5, rtol=1e-5)
        assert (table.diff() >= 0).all() and table[-1] == 1


def test_steps_floats_and_what_is_between():
    function = with_phi([0.3, -1.0, 2.0, 0.0, 0.5])
    torch.testing.assert_close(function(STEPS), function(STEPS / 4))
    torch.testing.assert_close(function(torch.tensor(0.125)), function(STEPS[:2]).mean())
    nearest = with_phi([0.3, -1.0, 2.0, 0.0, 0.5], between="nearest")
    some = torch.tensor([0.0, 0.12, 0.13, 0.88, 1.0])
    assert torch.equal(nearest(some), nearest(torch.tensor([0, 0, 1, 4, 4])))
    assert torch.equal(function(STEPS.to(torch.uint8)), function.table())
    assert torch.equal(look_up(function.table(), STEPS), function.table())
    (function(STEPS) * torch.randn(5)).sum().backward()
    assert (function.phi.grad != 0).all()


@pytest.mark.parametrize(
    ("scalar", "values", "middle"),
    [
        (Range(0.002, 80, log=True), [0.002, 0.4, 80.0], 0.5),
        (Range(0, 999), [0, 499.5, 999.0], 0.5),
        (Range(1, 0), [1.0, 0.75, 0.0], 0.25),
        (Range(18, 90), [18.0, 36.0, 90.0], 0.25),
        (Range(18, 90), [18, 36, 90], 0.25),  # 36 and 36.0 are the same age
    ],
)
def test_a_range_maps_its_ends_to_the_ends_of_lambda(scalar, values, middle):
    fractions = InterpolationFunction(101, "linear", scalar=scalar)(torch.tensor(values))
    torch.testing.assert_close(fractions, torch.tensor([0, middle, 1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("scalar", [None, Range(0, 999), Range(0.002, 80, log=True)])
def test_ends_are_in_range_up_to_rounding(dtype, scalar):
    function = InterpolationFunction(10, "linear", scalar=scalar)
    first, last = (scalar.first, scalar.last) if scalar else (0.0, 1.0)
    ends = function(torch.tensor([first, last]).to(dtype)).double()
    torch.testing.assert_close(ends, torch.tensor([0.0, 1]).double(), atol=2e-3, rtol=0)
    solver = torch.tensor([-1e-7, 1.0000001, 1.000005])  # which adds up steps in float32
    assert InterpolationFunction(10, "linear")(solver).tolist() == [0, 1, 1]
    for outside in (first - 0.1, last * 1.1, float("nan")):
        with pytest.raises(ValueError, match="must be in"):
            function(torch.tensor(outside, dtype=dtype))


@pytest.mark.parametrize("s", [-1, 10, 1.01, -0.01, float("nan"), True, 1j])
def test_scalars_out_of_range_raise(s):
    with pytest.raises(ValueError, match="must be"):
        position(torch.tensor(s), 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *((partial(Range, *ends), "ends of a") for ends in [(1, 1), (0, inf), (-1, 1, True)]),
        *((partial(InterpolationFunction, **{k: 1}), f"{k} must be") for k in COUNTS),
        *((partial(InterpolationFunction, **{k: "x"}), f"{k} must be") for k in CHOICES),
        *((partial(Mixture, **{k: 1}), f"{k} must be") for k in (*COUNTS, "knots")),
    ],
)
def test_invalid_options_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mixture_starts_with_a_set_for_each_part_of_the_range():
    w = Mixture(4, 1000).table()
    torch.testing.assert_close(w.sum(0), torch.ones(1000))
    assert w[:, [0, 333, 666, 999]].argmax(0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16])
def test_integers_of_any_type_are_compared_as_numbers(dtype):
    assert position(torch.tensor(100, dtype=dtype), 1000).item() == 100
    assert position(torch.tensor(54, dtype=dtype), 5, Range(0, 300)).item() == pytest.approx(0.72)
    with pytest.raises(ValueError, match=r"must be in \[-300, -200\], got 0"):
        position(torch.tensor(0, dtype=dtype), 1000, Range(-300, -200))
