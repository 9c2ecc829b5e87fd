"""A physical quantity in its own units: the temperature of a plate after some minutes.

    u(t) is the solution of du/dt = D (d^2 u/dx^2 + d^2 u/dy^2), here by the FFT

The network maps the image u(0) to u(t), for t from 0 to 60 minutes. It is trained at measured
times, every 5 minutes, and evaluated between them: lambda, and so the parameters, are linear
between two times that were trained. An age, a dose or an exposure time is used in the same way.

    python examples/recipes/physical.py
"""

import torch
from torch import Tensor, nn

from dpi.interpolation import Range, interpolate, parameter_groups

SIZE, DIFFUSIVITY, LAST = 16, 0.03, 60  # pixels, square pixels per minute, minutes
MEASURED = torch.arange(0, LAST + 1, 5)  # minutes, integers
HELD_OUT = (2.5, 7.5, 22.5, 57.5)


def plates(count: int) -> Tensor:
    """Warm and cold spots, shape (count, 1, SIZE, SIZE)."""
    warm, cold = (torch.rand(2, count, 1, SIZE, SIZE) > 0.9).float()
    return 3 * (warm - cold)


def after(u: Tensor, minutes: Tensor) -> Tensor:
    """The exact solution, with periodic boundaries."""
    k = 2 * torch.pi * torch.fft.fftfreq(SIZE)
    decay = (k**2 + k[:, None] ** 2) * DIFFUSIVITY
    return torch.fft.ifft2(torch.fft.fft2(u) * (-decay * minutes.reshape(-1, 1, 1, 1)).exp()).real


def network() -> nn.Module:
    def conv(channels_in: int, channels_out: int) -> nn.Module:
        return nn.Conv2d(channels_in, channels_out, 5, padding=2, padding_mode="circular")

    return nn.Sequential(conv(1, 8), nn.SiLU(), conv(8, 8), nn.SiLU(), conv(8, 1))


def main(steps: int = 200) -> list[tuple[float, float, float]]:
    torch.manual_seed(0)
    plain, dpi = network(), interpolate(network(), scalar=Range(0, LAST))
    groups = parameter_groups(dpi, lr=5e-3, lr_lambda=1e-2) + parameter_groups(plain, 5e-3, 0)
    optimizer = torch.optim.Adam(groups)
    for _ in range(steps):
        u, minutes = plates(16), MEASURED[torch.randint(len(MEASURED), (16,))]
        target = after(u, minutes)
        loss = (dpi(u, minutes) - target).square().mean() + (plain(u) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("minutes (not trained)   error without the time   with DPI   (root mean square)")
    errors = []
    u = plates(100)
    with torch.no_grad():
        for minutes in HELD_OUT:
            target = after(u, torch.tensor(minutes))
            rms = [(y - target).square().mean().sqrt().item() for y in (plain(u), dpi(u, minutes))]
            errors.append((minutes, *rms))
            print(f"{minutes:21.1f} {rms[0]:24.3f} {rms[1]:10.3f}")
    return errors


if __name__ == "__main__":
    main()
