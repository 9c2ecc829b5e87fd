"""MLP: a sinusoidal embedding of the step scales and shifts every normalisation (Section 2.3)."""

import inspect
from collections.abc import Callable

from torch import Tensor, nn

from dpi.errors import UserError
from dpi.frameworks import Framework
from dpi.interpolation import position


class MLP(nn.Module):
    """f(x, t) with the network's own embedding of t; needs a network that has one (ADM).

    Args:
        network: makes the network; called with time_embedding=True.
        framework: gives the number of scalars.

    Raises:
        UserError: the network has no normalisation layers for an embedding to modulate.
    """

    def __init__(self, network: Callable[..., nn.Module], framework: Framework) -> None:
        super().__init__()
        if "time_embedding" not in inspect.signature(network).parameters:
            raise UserError(
                "cond=mlp modulates normalisation layers, and this architecture has none: use "
                "arch=adm, or cond=tmap, cond=dpi (with diffusion also sigmamap, ncsnv2)"
            )
        self.network = network(time_embedding=True)
        self.num_scalars = framework.num_scalars

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x: (B, 3, H, W); s: () or (B,), steps or floats in [0, 1]. Returns (B, 3, H, W)."""
        t = position(s, self.num_scalars).to(x.device)
        return self.network(x, t.expand(len(x)))
