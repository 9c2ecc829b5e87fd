"""VP diffusion: the paper's noise levels, Equation (3), and guided-diffusion's DDIM."""

import numpy as np
import pytest
import torch

from dpi.frameworks import VPDiffusion


def test_noise_levels_are_those_printed_in_the_paper():
    sigmas = VPDiffusion().sigmas[[0, 333, 666, 999]]
    printed = torch.tensor([0.01, 1.46, 9.49, 157.0])
    torch.testing.assert_close(sigmas, printed, rtol=5e-3, atol=0)


def test_corrupts_by_equation_3():
    diffusion = VPDiffusion()
    x, noise = torch.randn(3, 3, 2, 2), torch.randn(3, 3, 2, 2)
    t = torch.tensor([0, 500, 999])
    corrupted, target = diffusion.corrupt(x, noise, t)
    assert target is noise
    betas = np.linspace(1e-4, 0.02, 1000)
    for i, step in enumerate(t.tolist()):
        abar = np.prod(1 - betas[: step + 1])
        expected = np.sqrt(abar) * x[i] + np.sqrt(1 - abar) * noise[i]
        torch.testing.assert_close(corrupted[i], expected.float(), atol=1e-6, rtol=1e-5)


def ddim_by_hand(model, x: np.ndarray, num_steps: int) -> np.ndarray:
    """DDIM's update (eta = 0) in float64, x0 clipped, as guided-diffusion spaces its steps."""
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for t in range(1000 - 1000 // num_steps, -1, -(1000 // num_steps)):
        eps = model(x, t)
        x0 = (x - np.sqrt(1 - abar[t]) * eps) / np.sqrt(abar[t])
        x0 = np.clip(x0, -1, 1)
        eps = (x - np.sqrt(abar[t]) * x0) / np.sqrt(1 - abar[t])
        before = t - 1000 // num_steps
        abar_before = abar[before] if before >= 0 else 1.0
        x = np.sqrt(abar_before) * x0 + np.sqrt(1 - abar_before) * eps
    return x


@pytest.mark.parametrize("num_steps", [200, 50, 1000])
def test_samples_by_ddim(num_steps):
    # The model and its 200-step answer were also compared with guided-diffusion's own program.
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    calls = []

    def model(x, t):
        calls.append(int(t))
        return 0.5 * torch.sin(x) + 0.001 * t * x

    ours = VPDiffusion().sample(model, x, num_steps)
    by_hand = ddim_by_hand(
        lambda x, t: 0.5 * np.sin(x) + 0.001 * t * x, x.double().numpy(), num_steps
    )
    torch.testing.assert_close(ours.double(), torch.from_numpy(by_hand), atol=1e-5, rtol=0)
    assert len(calls) == num_steps and calls[-1] == 0


def test_a_perfect_noise_predictor_gives_the_picture_back():
    diffusion = VPDiffusion()
    x0 = torch.rand(1, 3, 2, 2) * 2 - 1

    def perfect(x, t):
        abar = diffusion.alpha_bar[t]
        return (x - abar.sqrt() * x0) / (1 - abar).sqrt()

    torch.testing.assert_close(
        diffusion.sample(perfect, torch.randn_like(x0)), x0, atol=1e-3, rtol=0
    )
