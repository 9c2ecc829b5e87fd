"""Learning rates over the optimizer steps."""

import math

import pytest

from dpi.training.learning_rate import lr_factor


def test_a_warm_up_is_linear_and_its_last_step_has_the_whole_rate():
    factor = lr_factor("constant", 4, None)
    assert [factor(n) for n in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert lr_factor("constant", 0, None) is None


def test_cosine_falls_from_the_end_of_the_warm_up_to_zero():
    factor = lr_factor("cosine", 2, 10)
    assert [factor(n) for n in (0, 1, 2)] == [0.5, 1, 1]
    assert factor(6) == pytest.approx(0.5)
    assert factor(4) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factor(10) == pytest.approx(0) and factor(1000) == pytest.approx(0)


def test_rsqrt_is_that_of_edm2():
    factor = lr_factor("rsqrt", 10, 100)
    for n in (0, 5, 50, 100, 400, 10_000):
        edm2 = 1 / max(n / 100, 1) ** 0.5 * min((n + 1) / 10, 1)
        assert factor(n) == pytest.approx(edm2)
