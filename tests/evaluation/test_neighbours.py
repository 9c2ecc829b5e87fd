"""What lies in whose balls is what a brute-force search gives, whatever the blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpi.evaluation import density_coverage, neighbours, precision_recall


def inside(real: np.ndarray, fake: np.ndarray, k: int) -> np.ndarray:
    """Whether each fake lies in each real point's ball: (N, M), exact for integers."""

    def squared_distances(a, b):
        return np.square(a[:, None].astype(np.float64) - b[None]).sum(axis=-1)

    # The nearest is the point itself.
    radii = np.sort(squared_distances(real, real), axis=1)[:, k]
    return squared_distances(real, fake) <= radii[:, None]


def brute_force(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, ...]:
    """Precision, recall, density, coverage."""
    balls = inside(real, fake, k)
    precision, recall = balls.any(axis=0).mean(), inside(fake, real, k).any(axis=0).mean()
    return precision, recall, balls.sum(axis=0).mean() / k, balls.any(axis=1).mean()


def found(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, ...]:
    """The same, as dpi computes them."""
    return *precision_recall(real, fake, k), *density_coverage(real, fake, k)


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
        blocked = found(real, fake, k)
    assert blocked == pytest.approx(found(torch.from_numpy(real), torch.from_numpy(fake), k))
    assert blocked == pytest.approx(brute_force(real, fake, k))


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(5, 60),
    m=st.integers(5, 60),
    k=st.integers(1, 4),
    dimensions=st.integers(1, 8),
    side=st.integers(1, 6),
    offset=st.sampled_from([0, 1000, 10**8]),
)
def test_points_of_a_lattice_are_on_the_surface_of_many_balls(
    seed, n, m, k, dimensions, side, offset
):
    """Many of them are there several times, so that balls of radius 0 occur, too."""
    rng = np.random.default_rng(seed)
    real = rng.integers(0, side + 1, (n, dimensions)) + offset
    fake = rng.integers(0, side + 1, (m, dimensions)) + offset
    assert found(real, fake, k) == pytest.approx(brute_force(real, fake, k), abs=1e-12)


@pytest.mark.parametrize("dimensions", [3, 300, 2000])
def test_copies_of_real_images_are_inside(dimensions):
    rng = np.random.default_rng(0)
    real = rng.standard_normal((40, dimensions)).astype(np.float32) * 100 + 7
    real = np.concatenate([real, real, real])  # the second nearest neighbour is a copy
    fake = np.concatenate([real[:40], real[:1] + 100])
    precision, recall, density, coverage = found(real, fake, 2)
    assert (precision, coverage) == (pytest.approx(40 / 41), 1)
    assert recall == 1
    assert density == pytest.approx(3 * 40 / (2 * 41))


def test_a_copy_is_perfect_and_a_far_set_has_nothing():
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) + 100
    assert precision_recall(real, real.clone()) == (1, 1)
    # Each lies in its own ball and in those whose five nearest it is among.
    assert density_coverage(real, real.clone()) == (pytest.approx(6 / 5), 1)
    assert found(real, real + 50, 3) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("real", "fake", "k"), [((5, 3), (5, 4), 3), ((3, 3), (9, 3), 3), ((5, 3), (5, 3), 0)]
)
@pytest.mark.parametrize("measure", [precision_recall, density_coverage])
def test_impossible_features_are_refused(measure, real, fake, k):
    with pytest.raises(ValueError, match=r"features must be|more than"):
        measure(torch.zeros(real), torch.zeros(fake), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("measure", [precision_recall, density_coverage])
def test_features_that_are_not_finite_are_refused(measure, which, bad):
    sets = list(np.random.default_rng(0).standard_normal((2, 20, 3)))
    sets[which][5, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        measure(*sets)
