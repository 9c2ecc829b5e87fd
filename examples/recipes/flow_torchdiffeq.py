"""Flow matching, sampled with torchdiffeq's adaptive dopri5.

    x_t = (1 - t) x_0 + t x_1,   dx/dt = v(x, t) is trained to predict x_1 - x_0

Lipman et al., "Flow Matching for Generative Modeling", 2023, with noise x_0 and data x_1 (points on
a circle). The solver chooses the times: float tensors without dimensions. Those that rounding moved
beyond an end are accepted. But dopri5 steps past the end on purpose and interpolates back; `step_t`
makes its last step end there, as the network was not trained for later times.

    python examples/recipes/flow_torchdiffeq.py
"""

import math

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from dpi.interpolation import Range, interpolate, parameter_groups


def circle(count: int) -> Tensor:
    angle = 2 * math.pi * torch.rand(count)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def network(scalar: Range) -> nn.Module:
    layers = [nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)]
    return interpolate(nn.Sequential(*layers), scalar=scalar)


def train(net: nn.Module, steps: int) -> None:
    optimizer = torch.optim.Adam(parameter_groups(net, lr=5e-3, lr_lambda=1e-2))
    for _ in range(steps):
        data = circle(256)
        noise, t = torch.randn_like(data), torch.rand(len(data))
        x = (1 - t[:, None]) * noise + t[:, None] * data
        loss = (net(x, t) - (data - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def solve(net: nn.Module, x: Tensor, start: float, end: float) -> Tensor:
    """Integrate dx/dt = net(x, t); t is a tensor without dimensions, one scalar for the batch."""
    options = {"step_t": torch.tensor([end])}
    times = torch.tensor([start, end])
    return odeint(
        lambda t, x: net(x, t), x, times, rtol=1e-4, atol=1e-4, method="dopri5", options=options
    )[-1]


def main(steps: int = 600) -> dict[str, float]:
    torch.manual_seed(0)
    net, noise = network(Range(0, 1)), torch.randn(500, 2)
    train(net, steps)
    samples = solve(net, noise, 0.0, 1.0)
    found = {
        "distance of noise from the circle": (noise.norm(dim=1) - 1).abs().mean().item(),
        "distance of samples from the circle": (samples.norm(dim=1) - 1).abs().mean().item(),
        # Backward in time, with the same network: from samples to their noise.
        "error of noise to samples and back": (
            (solve(net, samples, 1.0, 0.0) - noise).abs().mean().item()
        ),
    }
    # Another convention: time t' = 1 - t, with data at 0 and noise at 1. The same weights, with
    # theta0 still at the noise, are those of Range(1, 0).
    reverse = network(Range(1, 0))
    reverse.load_state_dict(net.state_dict())
    t = torch.rand(500)
    difference = (reverse(noise, 1 - t) - net(noise, t)).abs().max().item()
    found["difference of Range(1, 0) at 1 - t"] = difference
    for name, value in found.items():
        print(f"{name}: {value:.2g}")
    return found


if __name__ == "__main__":
    main()
