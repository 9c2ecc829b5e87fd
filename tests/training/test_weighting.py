"""Weightings of the loss over the scalars."""

import pytest
import torch

from dpi.frameworks import VPDiffusion, loss
from dpi.training.weighting import MinSNR, Uncertainty


@pytest.mark.parametrize("precondition", [False, True])
def test_min_snr_weights_the_error_of_the_image(precondition):
    """By min(SNR, 5), whatever the network predicts."""
    framework = VPDiffusion(precondition=precondition)
    generator = torch.Generator().manual_seed(0)
    x, noise, out = torch.rand(3, 8, 3, 4, 4, generator=generator, dtype=torch.float64)
    x, s = 2 * x - 1, torch.tensor([10, 50, 100, 250, 400, 600, 800, 999])
    error = loss(lambda *_: out, framework, x, noise, s)
    abar = framework.alpha_bar.double()[s].reshape(-1, 1, 1, 1)
    xt = abar.sqrt() * x + (1 - abar).sqrt() * noise
    if precondition:
        image = abar.sqrt() * xt - (1 - abar).sqrt() * out
    else:
        image = (xt - (1 - abar).sqrt() * out) / abar.sqrt()
    snr = (abar / (1 - abar)).flatten()
    expected = snr.clamp(max=5) * (image - x).square().flatten(1).mean(1)
    torch.testing.assert_close(MinSNR(framework)(error, s).double(), expected, rtol=1e-3, atol=1e-6)


def test_uncertainty_begins_unweighted_and_learns_the_logarithm_of_the_error():
    weighting = Uncertainty(1000)
    s = torch.arange(1000)
    errors = 0.01 + torch.exp(-s / 40)  # a hundred times larger at one end, as a network's is
    assert torch.equal(weighting(errors, s), errors)
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.02)
    for _ in range(1500):
        optimizer.zero_grad()
        weighting(errors, s).mean().backward()
        optimizer.step()
    torch.testing.assert_close(weighting.u(s), errors.log(), atol=0.1, rtol=0)
    # Every scalar then counts the same: d loss / d error times the error.
    counts = errors * torch.autograd.functional.jacobian(lambda e: weighting(e, s).sum(), errors)
    torch.testing.assert_close(counts, torch.ones(1000), atol=0.1, rtol=0)
