"""VP diffusion: the noise levels of the paper, Equation (3), and DDIM of guided-diffusion."""

import diffusers
import numpy as np
import pytest
import torch

from dpi.frameworks import VPDiffusion


def test_noise_levels_are_those_of_the_paper():
    sigmas = VPDiffusion().sigmas[[0, 333, 666, 999]]
    printed = torch.tensor([0.01, 1.46, 9.49, 157.0])
    torch.testing.assert_close(sigmas, printed, rtol=5e-3, atol=0)


def test_corrupt_is_equation_3():
    diffusion = VPDiffusion()
    x, noise = torch.randn(3, 3, 2, 2), torch.randn(3, 3, 2, 2)
    t = torch.tensor([0, 500, 999])
    corrupted, target = diffusion.corrupt(x, noise, t)
    assert target is noise
    betas = np.linspace(1e-4, 0.02, 1000)
    for i, step in enumerate(t.tolist()):
        abar = np.prod(1 - betas[: step + 1])
        expected = np.sqrt(abar) * x[i] + np.sqrt(1 - abar) * noise[i]
        # abar is float32, so sqrt(1 - abar) has an absolute error of up to 9e-7.
        torch.testing.assert_close(corrupted[i], expected.float(), atol=1e-5, rtol=1e-5)


def predict(x, t):
    """A noise predictor as a formula; t is an integer step."""
    return 0.5 * torch.sin(x) + 0.001 * t * x


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def ddim_in_numpy(model, x: np.ndarray, num_steps: int) -> np.ndarray:
    """DDIM (eta = 0) in float64 with clipped x0 and the step spacing of guided-diffusion."""
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
def test_ddim_matches_a_float64_implementation(noise, num_steps):
    # The model and its 200-step result were also compared with guided-diffusion's own program.
    steps = []

    def model(x, t):
        steps.append(int(t))
        return predict(x, t)

    ours = VPDiffusion().sample(model, noise, num_steps)
    expected = ddim_in_numpy(
        lambda x, t: 0.5 * np.sin(x) + 0.001 * t * x, noise.double().numpy(), num_steps
    )
    torch.testing.assert_close(ours.double(), torch.from_numpy(expected), atol=1e-5, rtol=0)
    assert len(steps) == num_steps and steps[-1] == 0


@pytest.mark.parametrize("num_steps", [1, 200, 1000])
def test_ddim_equals_the_scheduler_of_diffusers(noise, num_steps):
    diffusion = VPDiffusion()
    scheduler = diffusers.DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, clip_sample=True, timestep_spacing="leading"
    )
    # diffusers accumulates abar in float32, we in float64; otherwise the two are bit-identical.
    torch.testing.assert_close(scheduler.alphas_cumprod, diffusion.alpha_bar, atol=1e-6, rtol=1e-5)
    scheduler.alphas_cumprod = diffusion.alpha_bar
    scheduler.set_timesteps(num_steps)
    x = noise
    for t in scheduler.timesteps:
        x = scheduler.step(predict(x, t), t, x, use_clipped_model_output=True).prev_sample
    assert torch.equal(diffusion.sample(predict, noise, num_steps), x)
