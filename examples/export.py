"""Export an interpolated network at one scalar, and precompute the networks of a sampler.

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
    print(f"exported, maximum difference {(exported.module()(x) - net(x, 250)).abs().max():.0e}")

    baked = net.bake(range(0, 1000, 250))  # theta(s) is computed once for each scalar
    print(f"baked, maximum difference {(baked(x, 750) - net(x, 750)).abs().max():.0e}")


if __name__ == "__main__":
    main()
