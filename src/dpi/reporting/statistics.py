"""Means over seeds, and whether two orderings agree."""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit

BySeed = Mapping[int, float]
"""A number for each seed."""


def standard_error(values: BySeed) -> float | None:
    """Of the mean over seeds; None for fewer than two."""
    if len(values) < 2:
        return None
    return stdev(values.values()) / math.sqrt(len(values))


def difference(a: BySeed, b: BySeed) -> tuple[float, float | None]:
    """The mean of a less the mean of b, and its standard error, None where one has one seed.

    The same seeds saw the same pictures and the same noise, so they are compared in pairs.
    """
    if a.keys() == b.keys():
        each = {seed: a[seed] - b[seed] for seed in a}
        return fmean(each.values()), standard_error(each)
    errors = standard_error(a), standard_error(b)
    error = None if None in errors else math.hypot(*errors)
    return fmean(a.values()) - fmean(b.values()), error


class Ordering(NamedTuple):
    """How many pairs of rows stand as in the paper."""

    agrees: int = 0
    differs: int = 0
    not_told_apart: int = 0
    """Zero lies in the 95 % confidence interval of their difference, or they are equal."""

    @property
    def pairs(self) -> int:
        return sum(self)

    @property
    def same(self) -> bool:
        """Whether the whole ordering is the paper's."""
        return self.agrees == self.pairs

    def __str__(self) -> str:
        words = [f"{self.agrees} of {self.pairs}"]
        words += [f"{self.differs} the other way round"] if self.differs else []
        words += [f"{self.not_told_apart} not told apart"] if self.not_told_apart else []
        return ", ".join(words)


def ordering(ours: Mapping[str, BySeed], paper: Mapping[str, float]) -> Ordering:
    """Compare every pair of rows that both have and that the paper tells apart."""
    counts = Ordering()
    for one, other in combinations(sorted(ours.keys() & paper.keys()), 2):
        if paper[one] != paper[other]:
            counts = total([counts, _pair(ours[one], ours[other], paper[one] > paper[other])])
    return counts


def total(orderings: Iterable[Ordering]) -> Ordering:
    """The pairs of several orderings."""
    return Ordering(*(sum(counts) for counts in zip(Ordering(), *orderings, strict=True)))


def ranks(values: Mapping[str, float], higher_is_better: bool) -> dict[str, int]:
    """Best is 1, second best 2, and so on; equal values share a rank, nan has none."""
    finite = {row: value for row, value in values.items() if not math.isnan(value)}
    distinct = sorted(set(finite.values()), reverse=higher_is_better)
    return {row: 1 + distinct.index(value) for row, value in finite.items()}


def _student(freedom: int) -> float:
    """How many standard errors make a 95 % interval: 12.7, 4.3, 3.2, ... of 2, 3, 4, ... seeds."""
    return float(stdtrit(freedom, 0.975))


def _pair(one: BySeed, other: BySeed, larger: bool) -> Ordering:
    gap, error = difference(one, other)
    margin = 0.0 if error is None else error * _student(min(len(one), len(other)) - 1)
    # In this form nan is not told apart either.
    if not abs(gap) > margin:
        return Ordering(not_told_apart=1)
    return Ordering(agrees=1) if (gap > 0) == larger else Ordering(differs=1)
