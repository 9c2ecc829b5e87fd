"""t map: the normalized step as an additional input channel (Section 4.2)."""

import torch
from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.frameworks import Framework
from dpi.interpolation import position


class TMap(nn.Module):
    """g(x, t) = f(concatenate(x, t/T 1)), with t/T as a constant channel.

    Args:
        network: creates the base network f; called with in_channels=image_channels + 1.
        framework: defines T, the number of scalars.
        image_channels: C, of the images.
    """

    def __init__(
        self, network: Architecture, framework: Framework, image_channels: int = 3
    ) -> None:
        super().__init__()
        self.network = network(in_channels=image_channels + 1)
        self.num_scalars = framework.num_scalars

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the framework's target.

        Args:
            x: corrupted images, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, T-1] or floats in [0, 1].

        Returns:
            Shape (B, C, H, W).
        """
        normalized = position(s, self.num_scalars) / self.num_scalars
        return self.network(append_channels(x, normalized[..., None]))


def append_channels(x: Tensor, values: Tensor) -> Tensor:
    """Append channels that are constant in each image.

    Args:
        x: images, shape (B, C, H, W).
        values: the constants of each image, shape (B, n), or of all, (n,) or (1, n).

    Returns:
        Shape (B, C + n, H, W).
    """
    values = values.to(x, non_blocking=True)[..., None, None]
    return torch.cat([x, values.expand(len(x), -1, *x.shape[2:])], dim=1)
