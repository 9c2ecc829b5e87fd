"""sinusoidal map: sinusoidal features of the step as additional input channels."""

from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.conditioning.tmap import append_channels
from dpi.frameworks import Framework
from dpi.interpolation import position
from dpi.interpolation.film import sinusoidal


class Sinusoidal(nn.Module):
    """g(x, t) = f(concatenate(x, e_1(t) 1, ..., e_n(t) 1)): a t map that tells close steps apart.

    The channels are cosines and sines of t at n / 2 frequencies, constant in each image; FiLM and
    the MLP embed t in the same way.

    Args:
        network: creates the base network f; called with in_channels=image_channels + channels.
        framework: defines T, the number of scalars.
        image_channels: C, of the images.
        channels: n, even.
    """

    def __init__(
        self,
        network: Architecture,
        framework: Framework,
        image_channels: int = 3,
        channels: int = 64,
    ) -> None:
        super().__init__()
        self.network = network(in_channels=image_channels + channels)
        self.num_scalars = framework.num_scalars
        self.channels = channels

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the framework's target.

        Args:
            x: corrupted images, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, T-1] or floats in [0, 1].

        Returns:
            Shape (B, C, H, W).
        """
        t = position(s, self.num_scalars).reshape(-1)
        return self.network(append_channels(x, sinusoidal(t, self.channels)))
