"""Variance-preserving diffusion: noise is added by (3), predicted, and taken away by DDIM."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from tqdm import tqdm

from dpi.interpolation import at

Network = Callable[[Tensor, Tensor], Tensor]


class VPDiffusion:
    """Equation (3), x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with a linear beta schedule.

    The paper's text has beta grow to 0.2; its noise levels sigma_t = {0.01, 1.46, 9.49, 157} at
    t = {0, 333, 666, 999} are those of 0.02.

    Args:
        num_scalars: T, the number of steps; the scalar s is the step t in 0 ... T-1.
        beta_min, beta_max: variance added at the first and at the last step.
    """

    def __init__(
        self, num_scalars: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02
    ) -> None:
        self.num_scalars = num_scalars
        self._betas = torch.linspace(beta_min, beta_max, num_scalars, dtype=torch.float64)
        alpha_bar = (1 - self._betas).cumprod(dim=0)
        self.alpha_bar = alpha_bar.float()
        """abar_t at each step: (T,), float32, falling from 1 - beta_min to about 4e-5."""
        self.sigmas = ((1 - alpha_bar) / alpha_bar).sqrt().float()
        """sigma_t = sqrt((1 - abar_t) / abar_t), the noise level of x_t / sqrt(abar_t): (T,)."""

    def corrupt(self, x: Tensor, noise: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Add noise to pictures, (3).

        Args:
            x: (B, 3, H, W) pictures in [-1, 1].
            noise: eps, standard normal, shaped as x.
            s: (B,) or (), the steps t.

        Returns:
            (x_t, eps): what the network sees and what it is to predict, both shaped as x.
        """
        alpha_bar = at(self.alpha_bar, s).reshape(-1, 1, 1, 1).to(x.device)
        return alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise, noise

    @torch.no_grad()
    def sample(
        self, network: Network, noise: Tensor, num_steps: int = 200, progress: bool = False
    ) -> Tensor:
        """DDIM with eta = 0 on every (T / num_steps)-th step, the predicted x_0 clipped.

        Args:
            network: eps(x_t, t).
            noise: (B, 3, H, W), standard normal.
            num_steps: network evaluations, at most T.
            progress: show a progress bar.

        Returns:
            (B, 3, H, W) pictures in [-1, 1], a function of network and noise.
        """
        ddim = DDIMScheduler(
            num_train_timesteps=self.num_scalars,
            trained_betas=self._betas.numpy(),
            clip_sample=True,
            set_alpha_to_one=True,
            timestep_spacing="leading",
        )
        ddim.set_timesteps(num_steps)
        x = noise
        for t in tqdm(ddim.timesteps, desc="DDIM", disable=not progress, leave=False):
            eps = network(x, t)
            # The clipped x_0 also corrects eps, as in guided-diffusion's sampler.
            x = ddim.step(eps, t, x, use_clipped_model_output=True).prev_sample
        return x
