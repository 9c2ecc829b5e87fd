"""NCSNv2: a network that is told nothing, its score rescaled by the noise level."""

from collections.abc import Callable

from torch import Tensor, nn

from dpi.errors import UserError
from dpi.frameworks import Framework, VPDiffusion


class NCSNv2(nn.Module):
    """An unconditional network f that predicts a score, s(x_t; sigma) = f(x_t) / sigma.

    sigma = sqrt(1 - abar_t) is the standard deviation of the VP process, and the noise that
    belongs to a score is eps = -sigma s. So sigma cancels: the network predicts -eps, and

        sigma^2 || s(x_t; sigma) - (-eps / sigma) ||^2 = || eps(x_t) - eps ||^2,

    the original's loss, weighted by sigma^2, is the noise-prediction error that every other
    conditioning is trained with (the original's factor 1/2 is left out: AdamW does not see it).
    What is left of the conditioning is that the network does not know sigma.

    Args:
        network: makes the bare network.
        framework: VP diffusion, which has scores.

    Raises:
        UserError: the framework predicts no score.
    """

    def __init__(self, network: Callable[..., nn.Module], framework: Framework) -> None:
        super().__init__()
        if not isinstance(framework, VPDiffusion):
            raise UserError(
                "cond=ncsnv2 rescales a score, and framework=flow predicts a velocity: "
                "use cond=tmap, cond=mlp or cond=dpi"
            )
        self.network = network()

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x: (B, 3, H, W); s is not used. Returns the predicted noise, (B, 3, H, W)."""
        return -self.network(x)
