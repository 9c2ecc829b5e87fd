"""NCSNv2: an unconditional network, divided by the noise level; diffusion only (Section 2.3)."""

from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.errors import Excluded
from dpi.frameworks import Framework, VPDiffusion


class NCSNv2(nn.Module):
    """An unconditional network f that predicts a score, s(x_t; sigma) = f(x_t) / sigma.

    sigma = sqrt(1 - abar_t) is the standard deviation of the VP process. The noise that
    corresponds to a score is eps = -sigma s, so sigma cancels and the network predicts -eps. The
    loss of the original is weighted by sigma^2,

        sigma^2 || s(x_t; sigma) - (-eps / sigma) ||^2 = || eps(x_t) - eps ||^2,

    which is the noise-prediction error that all other conditionings are trained with. (The
    original's factor 1/2 is left out; AdamW is invariant to it.) The difference that remains is
    that the network is not conditioned on sigma.

    Args:
        network: creates the base network f.
        framework: must be `VPDiffusion`, which has scores.

    Raises:
        Excluded: the framework predicts no score.
    """

    def __init__(self, network: Architecture, framework: Framework) -> None:
        super().__init__()
        if not isinstance(framework, VPDiffusion):
            raise Excluded(
                "cond=ncsnv2: it rescales a score, and framework=flow predicts a velocity; "
                "use cond=dpi, cond=tmap or cond=mlp"
            )
        self.network = network()

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy images, shape (B, C, H, W).
            s: not used.

        Returns:
            Shape (B, C, H, W).
        """
        return -self.network(x)
