"""σ map: the noise level as an additional input channel; diffusion only (Section 4.2)."""

from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.conditioning.tmap import append_channels
from dpi.errors import Excluded
from dpi.frameworks import Framework, VPDiffusion
from dpi.interpolation import look_up


class SigmaMap(nn.Module):
    """g(x, t) = f(concatenate(x, sigma_t 1)) with sigma_t = sqrt((1 - abar_t) / abar_t).

    Args:
        network: creates the base network f; called with in_channels=image_channels + 1.
        framework: must be `VPDiffusion`, which has noise levels.
        image_channels: C, of the images.

    Raises:
        Excluded: the framework has no noise levels.
    """

    def __init__(
        self, network: Architecture, framework: Framework, image_channels: int = 3
    ) -> None:
        super().__init__()
        if not isinstance(framework, VPDiffusion):
            raise Excluded(
                "cond=sigmamap: it is a map of noise levels, and framework=flow has none; "
                "use cond=dpi, cond=tmap or cond=mlp"
            )
        self.network = network(in_channels=image_channels + 1)
        self.register_buffer("sigmas", framework.sigmas, persistent=False)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy images, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, T-1] or floats in [0, 1].

        Returns:
            Shape (B, C, H, W).
        """
        return self.network(append_channels(x, look_up(self.sigmas, s)[..., None]))
