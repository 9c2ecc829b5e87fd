"""The paper's samplers as plain functions: DDIM for diffusion, Euler's method for flow matching."""

from collections.abc import Callable

import torch
from torch import Tensor

from dpi.errors import UserError
from dpi.progress import Progress

Network = Callable[[Tensor, Tensor], Tensor]
"""g(x, s): images (B, C, H, W) and a scalar, () or (B,), to a prediction (B, C, H, W)."""


def ddim(
    network: Network, x: Tensor, alpha_bar: Tensor, num_steps: int = 200, progress: bool = False
) -> Tensor:
    """DDIM (Song et al., 2021) without noise, eta = 0, as implemented in guided-diffusion.

    With a stride d = T / num_steps, each step from t = T - d to t = 0 computes

        x_0     = clip((x_t - sqrt(1 - abar_t) g(x_t, t)) / sqrt(abar_t), -1, 1)
        eps     = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)
        x_{t-d} = sqrt(abar_{t-d}) x_0 + sqrt(1 - abar_{t-d}) eps,

    where abar is 1 before step 0. The noise eps is recomputed from the clipped x_0.

    Args:
        network: g(x_t, t), predicts the noise at integer steps t.
        x: standard normal noise, shape (B, C, H, W).
        alpha_bar: abar_t at every step, shape (T,). On the CPU it needs no GPU synchronization.
        num_steps: number of steps and of network evaluations, a divisor of T.
        progress: show a progress bar.

    Returns:
        Images in [-1, 1], shape (B, C, H, W).

    Raises:
        UserError: num_steps does not divide T.
    """
    if num_steps < 1 or len(alpha_bar) % num_steps:
        raise UserError(
            f"steps={num_steps}: DDIM takes equal strides through {len(alpha_bar)} steps; give a "
            f"divisor of {len(alpha_bar)}"
        )
    stride = len(alpha_bar) // num_steps
    steps = torch.arange(0, len(alpha_bar), stride).flip(0)
    for t in Progress(steps, desc="DDIM", disable=not progress, leave=False):
        abar = alpha_bar[t]
        abar_next = alpha_bar[t - stride] if t > 0 else torch.ones_like(abar)
        eps = network(x, t)
        x0 = ((x - (1 - abar).sqrt() * eps) / abar.sqrt()).clamp(-1, 1)
        eps = (x - abar.sqrt() * x0) / (1 - abar).sqrt()
        x = abar_next.sqrt() * x0 + (1 - abar_next).sqrt() * eps
    return x


def euler(network: Network, x: Tensor, num_steps: int = 200, progress: bool = False) -> Tensor:
    """Euler's method for the ODE dx/dt = g(x, t) from t = 0 to t = 1,

        x_{t+h} = x_t + h g(x_t, t),   h = 1 / num_steps.

    Args:
        network: g(x_t, t), predicts the velocity at times t, floats in [0, 1).
        x: standard normal noise, shape (B, C, H, W).
        num_steps: number of steps and of network evaluations.
        progress: show a progress bar.

    Returns:
        Images at t = 1, shape (B, C, H, W), not clipped.
    """
    h = 1 / num_steps
    times = torch.arange(num_steps) / num_steps
    for t in Progress(times, desc="euler", disable=not progress, leave=False):
        x = x + h * network(x, t)
    return x
