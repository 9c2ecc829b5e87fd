"""Variance-preserving diffusion: noise is added by (3), predicted, and taken away by DDIM."""

from collections.abc import Callable

import diffusers
import torch
from torch import Tensor
from tqdm import tqdm

from dpi.errors import UserError
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

    solvers = (
        "DDIM",
        "DEISMultistep",
        "DPMSolverMultistep",
        "EulerDiscrete",
        "HeunDiscrete",
        "KDPM2Discrete",
        "LMSDiscrete",
        "PNDM",
        "UniPCMultistep",
    )
    """diffusers' schedulers that draw no noise of their own; DDIM is the paper's."""

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
        self,
        network: Network,
        noise: Tensor,
        num_steps: int = 200,
        solver: str = "DDIM",
        progress: bool = False,
    ) -> Tensor:
        """Turn noise into pictures; by DDIM unless told otherwise, with eta = 0 on every
        (T / num_steps)-th step, the predicted x_0 clipped.

        Args:
            network: eps(x_t, t), with t a step, or a float in [0, 1] that runs over the steps.
            noise: (B, 3, H, W), standard normal.
            num_steps: of the solver, at most T; each one network evaluation, of some solvers two.
            solver: one of `solvers`.
            progress: show a progress bar.

        Returns:
            (B, 3, H, W) pictures in [-1, 1], a function of network and noise.

        Raises:
            UserError: no such solver, or it cannot take so many steps.
        """
        scheduler = self._scheduler(num_steps, solver)
        # The clipped x_0 also corrects eps, as in guided-diffusion's sampler.
        options = {"use_clipped_model_output": True} if solver == "DDIM" else {}
        x = noise * scheduler.init_noise_sigma
        for t in tqdm(scheduler.timesteps, desc=solver, disable=not progress, leave=False):
            s = t / (self.num_scalars - 1) if t.is_floating_point() else t
            eps = network(scheduler.scale_model_input(x, t), s)
            x = scheduler.step(eps, t, x, **options).prev_sample
        return x.clamp(-1, 1)

    def _scheduler(self, num_steps: int, solver: str) -> diffusers.SchedulerMixin:
        if solver not in self.solvers:
            raise UserError(f"solver={solver}: diffusion has {', '.join(self.solvers)}")
        options = {}
        if solver == "DDIM":
            if num_steps < 1 or self.num_scalars % num_steps:
                raise UserError(
                    f"steps={num_steps}: DDIM takes equal strides through {self.num_scalars} "
                    f"steps, so give a divisor of {self.num_scalars}"
                )
            options = {
                "clip_sample": True,
                "set_alpha_to_one": True,
                "timestep_spacing": "leading",
            }
        try:
            scheduler = getattr(diffusers, f"{solver}Scheduler")(
                num_train_timesteps=self.num_scalars, trained_betas=self._betas.numpy(), **options
            )
            scheduler.set_timesteps(num_steps)
        except (ValueError, IndexError) as error:
            raise UserError(f"{solver} cannot take steps={num_steps}: {error}") from error
        return scheduler
