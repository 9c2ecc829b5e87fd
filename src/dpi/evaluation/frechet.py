"""The Frechet distance between two Gaussians: FID and sFID, given features."""

import numpy as np


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of features, (N, D): mu, (D,), and sigma, (D, D), float64, over N - 1.

    Raises:
        ValueError: fewer than two samples, or features that are not finite.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance needs two samples, got {len(features)}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    mu = features.mean(axis=0, dtype=np.float64)
    return mu, np.cov(features, rowvar=False, dtype=np.float64).reshape(len(mu), len(mu))


def frechet_distance(
    mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray
) -> float:
    """The squared Frechet (2-Wasserstein) distance of N(mu1, sigma1) and N(mu2, sigma2),

        |mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)).

    Heusel et al., "GANs trained by a two time-scale update rule", 2017. The trace of the root is
    taken as the sum of the singular values of sigma1^(1/2) sigma2^(1/2), which is the same and
    stays exact where a covariance is singular (fewer samples than features).

    Args:
        mu1, mu2: means, (D,).
        sigma1, sigma2: covariances, (D, D), symmetric and positive semi-definite.

    Returns:
        The distance, in the features' unit squared; at least 0 but for rounding.

    Raises:
        ValueError: shapes that do not belong together, or values that are not finite.
    """
    mu1, sigma1, mu2, sigma2 = (np.asarray(a, np.float64) for a in (mu1, sigma1, mu2, sigma2))
    shapes = [a.shape for a in (mu1, sigma1, mu2, sigma2)]
    (size,) = mu1.shape if mu1.ndim == 1 else (None,)
    if shapes != [(size,), (size, size)] * 2:
        raise ValueError(f"means must be (D,) and covariances (D, D), got {shapes}")
    if not all(np.isfinite(a).all() for a in (mu1, sigma1, mu2, sigma2)):
        raise ValueError("means and covariances must be finite")
    roots = np.linalg.svd(_root(sigma1) @ _root(sigma2), compute_uv=False)
    distance = np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2) - 2 * roots.sum()
    return float(distance)


def _root(sigma: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(sigma)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
