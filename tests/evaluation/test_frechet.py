"""The Frechet distance is scipy's, also where covariances are singular."""

import numpy as np
import pytest
import scipy.linalg

from dpi.evaluation import frechet_distance
from dpi.evaluation.frechet import statistics


def gaussian(rng: np.random.Generator, size: int, samples: int = 500):
    features = rng.standard_normal((samples, size)) @ rng.standard_normal((size, size))
    return statistics(features.astype(np.float32) + rng.standard_normal(size))


def test_statistics_are_numpys():
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((25_001, 7)) * 3 + 100).astype(np.float32)
    mu, sigma = statistics(features)
    assert np.allclose(mu, features.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert np.allclose(sigma, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-10)
    with pytest.raises(ValueError, match="two samples"):
        statistics(features[:1])
    features[5, 3] = np.inf
    with pytest.raises(ValueError, match="finite"):
        statistics(features)


def test_it_is_scipys_matrix_square_root():
    rng = np.random.default_rng(0)
    mu1, sigma1 = gaussian(rng, 64)
    mu2, sigma2 = gaussian(rng, 64)
    root = scipy.linalg.sqrtm(sigma1 @ sigma2)
    expected = np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2 - 2 * root.real)
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected, rel=1e-9)


def test_commuting_covariances_have_a_closed_form():
    a, b = np.array([4.0, 0.0, 9.0]), np.array([1.0, 16.0, 0.0])
    expected = 3 * 0.5**2 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    mu = np.zeros(3)
    assert frechet_distance(mu, np.diag(a), mu + 0.5, np.diag(b)) == pytest.approx(expected)


def test_a_singular_covariance_loses_no_digits():
    # 20 samples of 100 features: scipy's root of such a product is not to be trusted.
    rng = np.random.default_rng(0)
    mu, sigma = gaussian(rng, 100, samples=20)
    assert abs(frechet_distance(mu, sigma, mu, sigma)) < 1e-9 * np.trace(sigma)


@pytest.mark.parametrize(
    ("mu", "sigma", "message"),
    [
        (np.zeros(3), np.eye(2), r"\(D, D\)"),
        (np.zeros((3, 1)), np.eye(3), r"\(D, D\)"),
        (np.zeros(2), np.eye(2), r"\(D, D\)"),
        (np.full(3, np.nan), np.eye(3), "finite"),
    ],
)
def test_what_does_not_belong_together_is_refused(mu, sigma, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(mu, sigma, np.zeros(3), np.eye(3))
