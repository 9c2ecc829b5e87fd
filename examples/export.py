"""Leave DPI behind: the plain network of one scalar, exported; a sampler's networks, baked.

python examples/export.py
"""

import torch

from dpi.architectures import DRUNet
from dpi.interpolation import interpolate


def main() -> None:
    torch.manual_seed(0)
    net = interpolate(DRUNet(channels=(8, 16), num_blocks=1)).eval()
    x = torch.randn(1, 3, 32, 32)

    plain = net.at(250)  # a DRUNet; nothing in it knows of DPI
    exported = torch.export.export(plain, (x,))
    print(f"exported: equal to {(exported.module()(x) - net(x, 250)).abs().max():.0e}")

    baked = net.bake(range(0, 1000, 250))  # interpolated once each
    print(f"baked: equal to {(baked(x, 750) - net(x, 750)).abs().max():.0e}")


if __name__ == "__main__":
    main()
