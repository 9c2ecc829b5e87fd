"""The mean over the schedule from a few of its scalars is that from all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpi.frameworks import VPDiffusion
from dpi.frameworks.quadrature import nodes, weights

S = 1000


def spectrum(power: float) -> np.ndarray:
    """Variances of 16x16 Gaussian images by wave number k, as k^-power, of mean 1/4."""
    k = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(16) * 16])).clip(min=0.7)
    return (variances := k**-power) / variances.mean() / 4


def noise_errors(variances: np.ndarray) -> np.ndarray:
    """Of the best possible noise prediction, at every step."""
    alpha_bar = VPDiffusion(S).alpha_bar.double().numpy()[:, None]
    signal = alpha_bar * variances.ravel()
    return (signal / (signal + 1 - alpha_bar)).mean(axis=1)


def velocity_errors(variances: np.ndarray) -> np.ndarray:
    """Of the best possible velocity, at every step: var(x1 - x0 | x_t)."""
    t, variances = np.linspace(0, 1, S)[:, None], variances.ravel()
    covariance = t * variances - (1 - t)
    return (variances + 1 - covariance**2 / (t**2 * variances + (1 - t) ** 2)).mean(axis=1)


@pytest.mark.parametrize("curve", [noise_errors, velocity_errors])
@pytest.mark.parametrize("power", [1.5, 2, 3, 4])
def test_28_scalars_give_the_mean_over_1000(curve, power):
    errors = curve(spectrum(power))
    steps = nodes(28, S)
    assert len(steps) == 28
    assert weights(steps, S) @ errors[steps] == pytest.approx(errors.mean(), rel=0.01)


def test_errors_linear_in_theta_are_averaged_exactly():
    theta = np.arccos(1 - 2 * np.arange(S) / (S - 1))
    steps = nodes(10, S)
    assert weights(steps, S) @ theta[steps] == pytest.approx(theta.mean(), rel=1e-12)


@given(st.integers(4, 60) | st.integers(4, 1500), st.integers(2, 40) | st.integers(2, 1200))
def test_nodes_and_weights_of_any_count_and_schedule(count, num_scalars):
    steps = nodes(count, num_scalars)
    last = num_scalars - 1
    assert steps == sorted(set(steps)) and len(steps) <= count
    assert {0, round(last / 3), round(2 * last / 3), last} <= set(steps) <= set(range(num_scalars))
    if count >= num_scalars:
        assert steps == list(range(num_scalars))
    found = weights(steps, num_scalars)
    assert (found > 0).all() and found.sum() == pytest.approx(1)
    if len(steps) == num_scalars:
        assert found == pytest.approx(np.full(num_scalars, 1 / num_scalars))
