"""Precision and recall are what a brute-force search gives, whatever the blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpi.evaluation import neighbours, precision_recall


def brute_force(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    def distances(a, b):
        return np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=-1)

    def radii(points):
        return np.sort(distances(points, points), axis=1)[:, k]  # the first is the point itself

    between = distances(real, fake)
    precision = (between <= radii(real)[:, None]).any(axis=0).mean()
    recall = (between <= radii(fake)[None]).any(axis=1).mean()
    return precision, recall


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(5, 40),
    m=st.integers(5, 40),
    k=st.integers(1, 4),
    shift=st.floats(0, 3),
)
def test_brute_force_agrees_across_blocks(seed, n, m, k, shift):
    rng = np.random.default_rng(seed)
    real = rng.standard_normal((n, 3)).astype(np.float32)
    fake = (rng.standard_normal((m, 3)) + shift).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", 7)
        blocked = precision_recall(real, fake, k)
    assert blocked == precision_recall(torch.from_numpy(real), torch.from_numpy(fake), k)
    assert blocked == pytest.approx(brute_force(real, fake, k))


def test_precision_is_of_the_fakes_and_recall_of_the_real():
    rng = np.random.default_rng(0)
    real = rng.standard_normal((200, 4)).astype(np.float32)
    fake = real[:20] * 0.1  # all within the real ones, and covering few of them
    precision, recall = precision_recall(real, fake)
    assert precision == 1 and recall < 0.5
    assert precision_recall(fake, real) == (recall, precision)


def test_a_copy_is_perfect_and_a_far_set_has_nothing():
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) + 100
    assert precision_recall(real, real.clone()) == (1, 1)
    assert precision_recall(real, real + 50) == (0, 0)


def test_features_far_from_the_origin_keep_their_distances():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 300, 5)).astype(np.float32)
    expected = brute_force(real, fake, 3)
    assert precision_recall(real + 1000, fake + 1000) == pytest.approx(expected, abs=0.01)


def test_points_that_are_many_times_there_have_no_ball():
    real = torch.zeros(10, 2)
    assert precision_recall(real, torch.ones(10, 2)) == (0, 0)
    assert precision_recall(real, torch.zeros(10, 2)) == (1, 1)


@pytest.mark.parametrize(
    ("real", "fake", "k"), [((5, 3), (5, 4), 3), ((3, 3), (9, 3), 3), ((5, 3), (5, 3), 0)]
)
def test_impossible_features_are_refused(real, fake, k):
    with pytest.raises(ValueError, match=r"features must be|more than"):
        precision_recall(torch.zeros(real), torch.zeros(fake), k)
