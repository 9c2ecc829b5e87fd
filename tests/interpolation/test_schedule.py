"""lambda(s): monotone, normalized, learnable at every step, and linear between steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpi.interpolation import InterpolationFunction, Range, at, position


def with_phi(values: list[float], endpoints: str) -> InterpolationFunction:
    function = InterpolationFunction(len(values), endpoints=endpoints)
    function.phi.data = torch.tensor(values)
    return function


phis = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=50)


@given(phis, st.sampled_from(["paper", "exact"]))
@settings(max_examples=50, deadline=None)
def test_increases_from_the_first_endpoint_to_exactly_one(values, endpoints):
    table = with_phi(values, endpoints).table()
    assert (table.diff() >= 0).all()
    assert table[-1] == 1
    first = torch.softmax(torch.tensor(values, dtype=torch.float64), 0)[0]
    expected = first if endpoints == "paper" else torch.tensor(0.0)
    torch.testing.assert_close(table[0].double(), expected.double(), atol=1e-6, rtol=1e-4)


@given(phis)
@settings(max_examples=50, deadline=None)
def test_matches_the_cumulative_sum_of_the_paper(values):
    p = torch.softmax(torch.tensor(values, dtype=torch.float64), 0)
    expected = torch.stack([p[: i + 1].sum() for i in range(len(values))])
    torch.testing.assert_close(
        with_phi(values, "paper").table().double(), expected, atol=1e-5, rtol=1e-5
    )


@given(st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=50))
@settings(max_examples=50, deadline=None)
def test_exact_endpoints_rescale_the_paper_formula_to_start_at_zero(values):
    paper = with_phi(values, "paper").table()
    expected = (paper - paper[0]) / (1 - paper[0])
    torch.testing.assert_close(with_phi(values, "exact").table(), expected, atol=1e-4, rtol=1e-4)


def test_linear_schedule_is_the_identity_without_parameters():
    function = InterpolationFunction(1000, schedule="linear")
    s = torch.tensor([0.0, 0.25, 0.731, 1.0])
    torch.testing.assert_close(function(s), s)
    assert list(function.parameters()) == []


def test_steps_and_floats_agree():
    function = with_phi([0.3, -1.0, 2.0, 0.0, 0.5], "paper")
    steps = torch.arange(5)
    torch.testing.assert_close(function(steps), function(steps / 4))
    halfway = function(torch.tensor(0.125))
    torch.testing.assert_close(halfway, function(steps[:2]).mean())


def test_every_coefficient_receives_a_gradient():
    function = InterpolationFunction(20)
    (function(torch.arange(20)) * torch.randn(20)).sum().backward()
    assert (function.phi.grad != 0).all()


@pytest.mark.parametrize("s", [-1, 10, 1.01, -0.01, float("nan"), True])
def test_scalars_out_of_range_raise(s):
    with pytest.raises(ValueError, match="must"):
        position(torch.tensor(s), 10)


def test_at_integer_steps_returns_table_entries():
    table = torch.randn(7)
    assert torch.equal(at(table, torch.tensor([6, 0, 3])), table[[6, 0, 3]])


def test_between_nearest_uses_the_nearest_step():
    function = InterpolationFunction(11, between="nearest")
    s = torch.tensor([0.0, 0.24, 0.26, 0.94, 0.96, 1.0])
    assert torch.equal(function(s), function(torch.tensor([0, 2, 3, 9, 10, 10])))


@pytest.mark.parametrize(
    "settings",
    [{"num_scalars": 1}, {"schedule": "cosine"}, {"endpoints": "open"}, {"between": "cubic"}],
)
def test_invalid_arguments_raise(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        InterpolationFunction(**settings)


@pytest.mark.parametrize(
    ("scalar", "values", "fractions"),
    [
        (Range(0.002, 80, log=True), [0.002, 0.4, 80.0], [0, 0.5, 1]),
        (Range(0, 999), [0, 499.5, 999.0], [0, 0.5, 1]),
        (Range(1, 0), [1.0, 0.75, 0.0], [0, 0.25, 1]),
        (Range(18, 90), [18, 36, 90], [0, 0.25, 1]),
    ],
)
def test_a_range_maps_its_ends_to_the_ends_of_lambda(scalar, values, fractions):
    function = InterpolationFunction(101, schedule="linear", scalar=scalar)
    torch.testing.assert_close(function(torch.tensor(values)), torch.tensor(fractions).float())
    if all(float(v).is_integer() for v in values):  # 30 and 30.0 are the same age
        integers = torch.tensor(values).long()
        torch.testing.assert_close(function(integers), torch.tensor(fractions).float())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_steps_of_any_integer_type(dtype):
    function = with_phi([0.3, -1.0, 2.0, 0.0], "paper")
    assert torch.equal(function(torch.arange(4).to(dtype)), function.table())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("scalar", [None, Range(0, 999), Range(0.002, 80, log=True)])
def test_ends_are_in_range_up_to_rounding(dtype, scalar):
    function = InterpolationFunction(10, "linear", scalar=scalar)
    first, last = (0.0, 1.0) if scalar is None else (scalar.first, scalar.last)
    ends = torch.tensor([first, last], dtype=torch.float64)
    rounded = ends.to(dtype)
    torch.testing.assert_close(
        function(rounded).double(), torch.tensor([0.0, 1]).double(), atol=2e-3, rtol=0
    )
    for outside in (ends[0] - 0.1, ends[1] * 1.1, torch.tensor(float("nan"))):
        with pytest.raises(ValueError, match="must be in"):
            function(outside.to(dtype))


@pytest.mark.parametrize("s", [1.0000001, 1.000005, -1e-7])
def test_rounding_errors_of_a_solver_are_in_range(s):
    assert InterpolationFunction(10, "linear")(torch.tensor(s)) == round(s)


@pytest.mark.parametrize("ends", [(1, 1), (0, float("inf")), (0, 1, True), (-1, 1, True)])
def test_invalid_ranges_raise(ends):
    with pytest.raises(ValueError, match="ends of a"):
        Range(*ends)


@pytest.mark.parametrize("schedule", ["learnable", "linear"])
def test_survives_to_empty(schedule):
    with torch.device("meta"):
        function = InterpolationFunction(11, schedule)
    function = function.to_empty(device="cpu")
    function.reset_parameters()
    fresh = InterpolationFunction(11, schedule)
    assert torch.equal(function(torch.arange(11)), fresh(torch.arange(11)))
