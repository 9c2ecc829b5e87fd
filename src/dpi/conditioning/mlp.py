"""MLP: an embedding of the scalar scales and shifts every normalization; ADM only (Section 2.3)."""

import inspect

from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.errors import Excluded
from dpi.frameworks import Framework
from dpi.interpolation import position


class MLP(nn.Module):
    """g(x, s) = f(x, t), where f embeds the step t itself, as `dpi.architectures.ADM` can.

    Args:
        network: creates the base network f; called with time_embedding=True.
        framework: defines the number of scalars.

    Raises:
        Excluded: the network takes no argument `time_embedding`.
    """

    def __init__(self, network: Architecture, framework: Framework) -> None:
        super().__init__()
        if "time_embedding" not in inspect.signature(network).parameters:
            raise Excluded(
                "cond=mlp: this architecture takes no time_embedding=; use arch=adm, or "
                "cond=dpi or cond=tmap (with diffusion also sigmamap or ncsnv2)"
            )
        self.network = network(time_embedding=True)
        self.num_scalars = framework.num_scalars

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the framework's target.

        Args:
            x: corrupted images, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, S-1] or floats in [0, 1].

        Returns:
            Shape (B, C, H, W).
        """
        t = position(s, self.num_scalars).to(x.device, non_blocking=True)
        return self.network(x, t.expand(len(x)))
