"""Variance-preserving diffusion: the network predicts the noise; DDIM samples."""

from functools import partial

import torch
from torch import Tensor

from dpi.errors import UserError
from dpi.frameworks.extra_solvers import SCHEDULERS, run_scheduler
from dpi.frameworks.precondition import predict
from dpi.frameworks.samplers import Network, ddim
from dpi.interpolation import look_up


class VPDiffusion:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, Equation (3), with a linear beta schedule.

    The paper's text has beta increase to 0.2, but its noise levels sigma_t =
    {0.01, 1.46, 9.49, 157} at t = {0, 333, 666, 999} are those of 0.02.

        >>> VPDiffusion().sigmas[[0, 333, 666]].round(decimals=2)
        tensor([0.0100, 1.4600, 9.4900])

    Args:
        num_scalars: T, the number of steps; the scalar s is the step t in 0 ... T-1.
        beta_min, beta_max: the variance added at the first and at the last step.
        precondition: let the network predict v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans
            and Ho, 2022), from which eps follows, see `preconditioning`.

    Raises:
        ValueError: fewer than two steps, or variances outside of (0, 1).
    """

    solvers = ("DDIM", *SCHEDULERS)
    """DDIM, the paper's and the default, and schedulers of diffusers."""

    def __init__(
        self,
        num_scalars: int = 1000,
        beta_min: float = 1e-4,
        beta_max: float = 0.02,
        precondition: bool = False,
    ) -> None:
        if num_scalars < 2 or not 0 < beta_min <= beta_max < 1:
            raise ValueError(
                f"num_scalars={num_scalars}, beta_min={beta_min}, beta_max={beta_max}: give two or "
                "more scalars, and betas between 0 and 1"
            )
        self.num_scalars = num_scalars
        self.precondition = precondition
        self._betas = torch.linspace(beta_min, beta_max, num_scalars, dtype=torch.float64)
        alpha_bar = (1 - self._betas).cumprod(dim=0)
        self.alpha_bar = alpha_bar.float()
        """abar_t at each step: (T,), float32, decreasing from 1 - beta_min to about 4e-5."""
        self.sigmas = ((1 - alpha_bar) / alpha_bar).sqrt().float()
        """sigma_t = sqrt((1 - abar_t) / abar_t), the noise level of x_t / sqrt(abar_t): (T,)."""

    def corrupt(self, x: Tensor, noise: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Add noise to images, Equation (3).

        Args:
            x: images x_0 in [-1, 1], shape (B, C, H, W).
            noise: eps, standard normal, shape (B, C, H, W).
            s: shape () or (B,), integer steps t in [0, T-1] or floats in [0, 1].

        Returns:
            (x_t, eps): the input of the network and its target, both (B, C, H, W).
        """
        alpha_bar = look_up(self.alpha_bar, s).reshape(-1, 1, 1, 1).to(x.device, non_blocking=True)
        return alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise, noise

    def preconditioning(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(c_skip, c_out) of eps = sqrt(1 - abar_t) x_t + sqrt(abar_t) v, shaped as s."""
        alpha_bar = look_up(self.alpha_bar, s)
        return (1 - alpha_bar).sqrt(), alpha_bar.sqrt()

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        noise: Tensor,
        num_steps: int = 200,
        solver: str | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Turn noise into images. The result is a function of network and noise alone.

        Args:
            network: g(x_t, t), as in `predict`. t is an integer step; for some solvers it is a
                float in [0, 1].
            noise: standard normal, shape (B, C, H, W).
            num_steps: number of solver steps, for DDIM a divisor of T. Each takes one network
                evaluation, for some solvers two.
            solver: one of `solvers`; None for the first.
            progress: show a progress bar.

        Returns:
            Images in [-1, 1], shape (B, C, H, W).

        Raises:
            UserError: an unknown solver, one that is not installed, or one that does not support
                num_steps.
        """
        network = partial(predict, self, network)
        solver = solver or self.solvers[0]
        if solver == "DDIM":
            x = ddim(network, noise, self.alpha_bar, num_steps, progress)
        elif solver in SCHEDULERS:
            x = run_scheduler(network, noise, self._betas, solver, num_steps, progress)
        else:
            raise UserError(
                f"solver={solver}: unknown for diffusion; give one of {', '.join(self.solvers)}"
            )
        return x.clamp(-1, 1)
