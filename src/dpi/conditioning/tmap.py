"""t map: the normalised step as one more input channel (Section 4.2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpi.frameworks import Framework
from dpi.interpolation import position


class TMap(nn.Module):
    """f(concatenate(x, t/T 1)): a constant channel that says how far along the schedule x is.

    Args:
        network: makes the bare network; called with in_channels=4.
        framework: gives T, the number of scalars.
    """

    def __init__(self, network: Callable[..., nn.Module], framework: Framework) -> None:
        super().__init__()
        self.network = network(in_channels=4)
        self.num_scalars = framework.num_scalars

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x: (B, 3, H, W); s: () or (B,), steps or floats in [0, 1]. Returns (B, 3, H, W)."""
        return self.network(append_map(x, position(s, self.num_scalars) / self.num_scalars))


def append_map(x: Tensor, value: Tensor) -> Tensor:
    """Append a channel that holds one value a picture: (B, C, H, W), (B,) -> (B, C+1, H, W)."""
    channel = value.to(x).reshape(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
    return torch.cat([x, channel], dim=1)
