"""Export an interpolated network at one scalar.

python examples/export.py
"""

import torch
from torch import nn

from dpi.interpolation import interpolate


def main() -> None:
    torch.manual_seed(0)
    f = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 3, 3, padding=1))
    net = interpolate(f).eval()
    x = torch.randn(1, 3, 32, 32)

    plain = net.at(250)  # a network like f with the parameters theta(250)
    exported = torch.export.export(plain, (x,))
    print(f"maximum difference {(exported.module()(x) - net(x, 250)).abs().max():.0e}")


if __name__ == "__main__":
    main()
