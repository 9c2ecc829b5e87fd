"""Learning rates over the optimizer steps."""

import math

import pytest
from omegaconf import OmegaConf

from dpi.training.module import lr_factor


def factors(schedule: str, warmup: int, decay: int | None, *steps: int) -> list[float]:
    keys = ("lr_schedule", "warmup_steps", "lr_decay_steps")
    training = OmegaConf.create(dict(zip(keys, (schedule, warmup, decay), strict=True)))
    return [lr_factor(training, step) for step in steps]


def test_a_warm_up_is_linear_and_its_last_step_has_the_whole_rate():
    assert factors("constant", 4, None, *range(6)) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert factors("constant", 0, None, 0, 9) == [1, 1]


def test_cosine_falls_from_the_end_of_the_warm_up_to_zero():
    expected = [0.5, 1, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, 0, 0]
    found = factors("cosine", 2, 10, 0, 1, 2, 4, 6, 10, 1000)
    assert found == pytest.approx(expected)


def test_rsqrt_is_that_of_edm2():
    steps = (0, 5, 50, 100, 400, 10_000)
    edm2 = [1 / max(n / 100, 1) ** 0.5 * min((n + 1) / 10, 1) for n in steps]
    assert factors("rsqrt", 10, 100, *steps) == pytest.approx(edm2)
