"""sigma map: the noise level as one more input channel (Section 4.2)."""

from collections.abc import Callable

from torch import Tensor, nn

from dpi.conditioning.tmap import append_map
from dpi.errors import UserError
from dpi.frameworks import Framework, VPDiffusion
from dpi.interpolation import at


class SigmaMap(nn.Module):
    """f(concatenate(x, sigma_t 1)) with sigma_t = sqrt((1 - abar_t) / abar_t).

    Args:
        network: makes the bare network; called with in_channels=4.
        framework: VP diffusion, which has noise levels.

    Raises:
        UserError: the framework has no noise levels.
    """

    def __init__(self, network: Callable[..., nn.Module], framework: Framework) -> None:
        super().__init__()
        if not isinstance(framework, VPDiffusion):
            raise UserError(
                "cond=sigmamap tells the network a noise level, and framework=flow has none: "
                "use cond=tmap, cond=mlp or cond=dpi"
            )
        self.network = network(in_channels=4)
        self.register_buffer("sigmas", framework.sigmas, persistent=False)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x: (B, 3, H, W); s: () or (B,), steps. Returns (B, 3, H, W)."""
        return self.network(append_map(x, at(self.sigmas, s)))
