"""EDM: preconditioning, training and Heun's sampler with a network that DPI conditions on sigma.

    D(x; sigma) = c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x; sigma)

Table 1 and Algorithm 1 (without churn) of Karras et al., "Elucidating the Design Space of
Diffusion-Based Generative Models", 2022. EDM passes c_noise = log(sigma) / 4 to F; here F is an
interpolated network and takes sigma itself. Toy data: points on a circle.

    python examples/recipes/edm.py
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dpi.interpolation import Range, interpolate, parameter_groups

SIGMA_MIN, SIGMA_MAX, SIGMA_DATA, RHO = 0.002, 80.0, 0.5, 7
RADIUS = SIGMA_DATA * math.sqrt(2)  # each coordinate has standard deviation SIGMA_DATA


class Denoiser(nn.Module):
    """D(x; sigma) for points x, shape (B, 2), and sigma, shape () or (B,)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = interpolate(net, scalar=Range(SIGMA_MIN, SIGMA_MAX, log=True))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        sigma_x = sigma.reshape(-1, 1)
        scale = (sigma_x**2 + SIGMA_DATA**2).sqrt()
        c_skip, c_out, c_in = (SIGMA_DATA / scale) ** 2, sigma_x * SIGMA_DATA / scale, 1 / scale
        return c_skip * x + c_out * self.net(c_in * x, sigma)


def circle(count: int) -> Tensor:
    angle = 2 * math.pi * torch.rand(count)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)


def training_loss(denoiser: nn.Module, x: Tensor) -> Tensor:
    # The log-normal has no bounds. Clamp the draw before it scales the noise, so that sigma is
    # the true noise level of the sample. About one draw in 70,000 is affected.
    sigma = (-1.2 + 1.2 * torch.randn(len(x))).exp().clamp(SIGMA_MIN, SIGMA_MAX)
    noisy = x + sigma[:, None] * torch.randn_like(x)
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    return (weight[:, None] * (denoiser(noisy, sigma) - x) ** 2).mean()


@torch.no_grad()
def sample(denoiser: nn.Module, noise: Tensor, num_steps: int = 18) -> Tensor:
    """Heun's second-order method; noise is standard normal. sigma = 0 is never evaluated."""
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    sigmas = [*(high + ramp * (low - high)) ** RHO, torch.zeros((), dtype=torch.float64)]
    x = noise.double() * sigmas[0]
    for sigma, below in pairwise(sigmas):
        slope = (x - denoiser(x.float(), sigma.float())) / sigma
        euler = x + (below - sigma) * slope
        if below > 0:
            slope = (slope + (euler - denoiser(euler.float(), below.float())) / below) / 2
        x = x + (below - sigma) * slope
    return x.float()


def main(steps: int = 400) -> list[float]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    denoiser, noise = Denoiser(net), torch.randn(500, 2)
    optimizer = torch.optim.Adam(parameter_groups(denoiser, lr=5e-3, lr_lambda=1e-2))
    distances = []
    for when, count in (("before", 0), ("after", steps)):
        for _ in range(count):
            optimizer.zero_grad()
            training_loss(denoiser, circle(256)).backward()
            optimizer.step()
        distances.append((sample(denoiser, noise).norm(dim=1) - RADIUS).abs().mean().item())
        print(f"distance of samples from the circle {when} training: {distances[-1]:.3f}")
    return distances


if __name__ == "__main__":
    main()
