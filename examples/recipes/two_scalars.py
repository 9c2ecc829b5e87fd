"""Two scalars: MeanFlow, whose network u(z, r, t) depends on the two ends of an interval of time.

    u(z, r, t) = v - (t - r) du/dt,   du/dt = v du/dz + du/dt at fixed z, by torch.func.jvp

Geng et al., "Mean Flows for One-step Generative Modeling", 2025, Algorithms 1 and 2, with
z_t = (1 - t) x + t e for data x (points on a circle) and noise e. Each `interpolate` adds one
scalar, the outer one first: in net(z, r, t), r belongs to the outer and t to the inner one.

    python examples/recipes/two_scalars.py
"""

import math

import torch
from torch import Tensor, nn

from dpi.interpolation import Range, interpolate, parameter_groups


def circle(count: int) -> Tensor:
    angle = 2 * math.pi * torch.rand(count)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def network(num_scalars: int = 10) -> nn.Module:
    """u(z, r, t). Few steps keep the slope of lambda, which the jvp sees, from being noisy."""
    net: nn.Module = nn.Sequential(
        nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
    )
    net = interpolate(net, num_scalars=num_scalars, scalar=Range(0, 1))  # t
    return interpolate(net, num_scalars=num_scalars, scalar=Range(0, 1))  # r


def u_and_derivative(
    net: nn.Module, z: Tensor, r: Tensor, t: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """u(z, r, t) and its total derivative in t, along dz/dt = v with r fixed."""
    return torch.func.jvp(lambda z, t: net(z, r, t), (z, t), (v, torch.ones_like(t)))


def loss(net: nn.Module, x: Tensor) -> Tensor:
    e, (r, t) = torch.randn_like(x), torch.rand(2, len(x)).sort(dim=0).values
    r = torch.where(torch.rand(len(x)) < 0.5, r, t)  # r = t is flow matching
    z = (1 - t[:, None]) * x + t[:, None] * e
    v = e - x
    u, du = u_and_derivative(net, z, r, t, v)
    error = (u - (v - (t - r)[:, None] * du).detach()).square().sum(dim=1)
    return (error / (error.detach() + 1e-3)).mean()  # the adaptive weight, with p = 1


@torch.no_grad()
def sample(net: nn.Module, e: Tensor) -> Tensor:
    """One step from noise to data."""
    return e - net(e, 0.0, 1.0)


def main(steps: int = 400) -> tuple[float, float]:
    torch.manual_seed(0)
    net, e = network(), torch.randn(500, 2)
    optimizer = torch.optim.Adam(parameter_groups(net, lr=5e-3, lr_lambda=1e-2))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net, circle(256)).backward()
        optimizer.step()
    noise, samples = ((x.norm(dim=1) - 1).abs().mean().item() for x in (e, sample(net, e)))
    print(f"distance from the circle: {noise:.3f} (noise), {samples:.3f} (one step)")
    return noise, samples


if __name__ == "__main__":
    main()
