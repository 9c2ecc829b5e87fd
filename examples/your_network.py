"""Condition your own network on the noise level: a denoiser of 1-D signals.

python examples/your_network.py
"""

import torch
from torch import nn

from dpi.interpolation import interpolate, parameter_groups

STEPS = 400


def network() -> nn.Module:
    """A small convolutional denoiser, not conditioned on the noise level."""
    layers = [nn.Conv1d(1, 32, 5, padding=2), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv1d(32, 32, 5, padding=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(32, 1, 5, padding=2))


def signals(count: int) -> torch.Tensor:
    """Sine waves of random frequency and phase, shape (count, 1, 64)."""
    t = torch.linspace(0, 1, 64)
    frequency, phase = 1 + 7 * torch.rand(count, 1), torch.rand(count, 1)
    return torch.sin(2 * torch.pi * (t * frequency + phase))[:, None]


def error(net: nn.Module, conditional: bool, s: torch.Tensor, count: int = 64) -> torch.Tensor:
    """Mean squared error of the denoised signals at noise level sigma = 2 s."""
    x = signals(count)
    noisy = x + 2 * s.reshape(-1, 1, 1) * torch.randn_like(x)
    denoised = net(noisy, s) if conditional else net(noisy)
    return (denoised - x).square().mean()


def train(net: nn.Module, conditional: bool) -> nn.Module:
    optimizer = torch.optim.AdamW(parameter_groups(net, lr=2e-3, lr_lambda=1e-2))
    for _ in range(STEPS):
        loss = error(net, conditional, torch.rand(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def main() -> None:
    torch.manual_seed(0)
    plain = train(network(), conditional=False)
    torch.manual_seed(0)
    dpi = train(interpolate(network(), num_scalars=100), conditional=True)
    print("noise level   plain    DPI")
    with torch.no_grad():
        for s in (0.05, 0.25, 0.5, 1.0):
            torch.manual_seed(1)
            a = error(plain, False, torch.tensor(s), 1000)
            torch.manual_seed(1)
            b = error(dpi, True, torch.tensor(s), 1000)
            print(f"{2 * s:11.2f}  {a:.4f}  {b:.4f}")


if __name__ == "__main__":
    main()
