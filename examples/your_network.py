"""Any network, told a noise level through its parameters: a denoiser of 1-D signals.

python examples/your_network.py
"""

import torch
from torch import nn

from dpi.interpolation import interpolate, parameter_groups

STEPS = 400


def network() -> nn.Module:
    """A small convolutional denoiser, which knows of no noise level."""
    layers = [nn.Conv1d(1, 32, 5, padding=2), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv1d(32, 32, 5, padding=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(32, 1, 5, padding=2))


def signals(count: int) -> torch.Tensor:
    """Sines of any frequency and phase: (count, 1, 64)."""
    t = torch.linspace(0, 1, 64)
    return torch.sin(2 * torch.pi * (t * (1 + 7 * torch.rand(count, 1)) + torch.rand(count, 1)))[
        :, None
    ]


def error(net: nn.Module, told: bool, s: torch.Tensor, count: int = 64) -> torch.Tensor:
    """Mean squared error of the denoised signals, sigma = 2 s."""
    x = signals(count)
    noisy = x + 2 * s.reshape(-1, 1, 1) * torch.randn_like(x)
    return (net(noisy, s) if told else net(noisy)).sub(x).square().mean()


def train(net: nn.Module, told: bool) -> nn.Module:
    optimizer = torch.optim.AdamW(parameter_groups(net, lr=2e-3, lr_lambda=1e-2))
    for _ in range(STEPS):
        loss = error(net, told, torch.rand(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def main() -> None:
    torch.manual_seed(0)
    blind = train(network(), told=False)
    torch.manual_seed(0)
    told = train(interpolate(network(), num_scalars=100), told=True)
    print("noise level   plain    DPI")
    with torch.no_grad():
        for s in (0.05, 0.25, 0.5, 1.0):
            torch.manual_seed(1)
            a = error(blind, False, torch.tensor(s), 1000)
            torch.manual_seed(1)
            b = error(told, True, torch.tensor(s), 1000)
            print(f"{2 * s:11.2f}  {a:.4f}  {b:.4f}")


if __name__ == "__main__":
    main()
