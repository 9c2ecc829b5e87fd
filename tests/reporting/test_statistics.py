import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpi.reporting.statistics import Ordering, difference, ordering, ranks, standard_error

numbers = st.integers(-50, 50).map(float)
rows = st.sampled_from("abcdef")
by_seed = st.dictionaries(st.integers(0, 3), numbers, min_size=1)
ours = st.dictionaries(rows, by_seed)
paper = st.dictionaries(rows, numbers)


def shuffled(mapping: dict, order: list) -> dict:
    return {key: mapping[key] for key in order if key in mapping}


@given(ours, paper, st.permutations("abcdef"))
def test_the_order_in_which_rows_come_is_no_matter(ours, paper, order):
    assert ordering(shuffled(ours, order), paper) == ordering(ours, paper)


@given(ours, paper)
def test_every_pair_that_both_have_and_the_paper_tells_apart_counts_once(ours, paper):
    both = sorted(ours.keys() & paper.keys())
    pairs = [(a, b) for a in both for b in both if a < b and paper[a] != paper[b]]
    assert ordering(ours, paper).pairs == len(pairs)


@given(ours, paper)
def test_turning_the_paper_round_turns_the_verdict_round(ours, paper):
    there = ordering(ours, paper)
    back = ordering(ours, {row: -value for row, value in paper.items()})
    assert back == Ordering(there.differs, there.agrees, there.not_told_apart)


@given(by_seed, by_seed)
def test_a_difference_has_a_sign(a, b):
    gap, error = difference(a, b)
    back, again = difference(b, a)
    assert back == pytest.approx(-gap)
    assert (error is None) == (again is None)


def test_the_same_seeds_are_compared_in_pairs():
    # The seeds scatter by 10, the difference by nothing.
    a, b = {0: 1.0, 1: 11.0, 2: 21.0}, {0: 2.0, 1: 12.0, 2: 22.0}
    assert difference(a, b) == (-1.0, 0.0)
    other_seeds = {seed + 1: value for seed, value in b.items()}
    gap, error = difference(a, other_seeds)
    assert (gap, error) == (-1.0, pytest.approx(math.hypot(*[10 / math.sqrt(3)] * 2)))


def test_the_standard_error_is_of_the_mean():
    assert standard_error({0: 1.0}) is None
    assert standard_error({0: 1.0, 1: 2.0, 2: 3.0}) == pytest.approx(1 / math.sqrt(3))


def test_a_95_percent_interval_tells_apart():
    paper = {"a": 1.0, "b": 2.0}
    # Paired differences 0, 1, 2 and 2.5, 3.5, 4.5: standard error 0.58, and t is 4.3.
    near = {"a": {0: 0.0, 1: 0.0, 2: 0.0}, "b": {0: 0.0, 1: 1.0, 2: 2.0}}
    far = {"a": {0: 0.0, 1: 0.0, 2: 0.0}, "b": {0: 2.5, 1: 3.5, 2: 4.5}}
    assert ordering(near, paper) == Ordering(not_told_apart=1)
    assert ordering(far, paper) == Ordering(agrees=1)
    assert ordering({"a": {0: 1.0}, "b": {0: 1.1}}, paper) == Ordering(agrees=1)
    assert ordering({"a": {0: 1.0}, "b": {0: 0.9}}, paper) == Ordering(differs=1)


def test_nan_is_told_from_nothing_and_has_no_rank():
    assert ordering({"a": {0: math.nan}, "b": {0: 1.0}}, {"a": 1.0, "b": 2.0}).not_told_apart == 1
    assert ranks({"a": math.nan, "b": 1.0}, higher_is_better=False) == {"b": 1}


@given(st.dictionaries(rows, numbers, min_size=1), st.booleans())
def test_ranks_follow_the_values(values, higher):
    of = ranks(values, higher)
    best = (max if higher else min)(values.values())
    assert {row for row, rank in of.items() if rank == 1} == {
        row for row, value in values.items() if value == best
    }
    for a in values:
        for b in values:
            assert (of[a] < of[b]) == (values[a] > values[b] if higher else values[a] < values[b])
