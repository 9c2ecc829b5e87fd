"""The interface of an architecture."""

from typing import Any, Protocol

from torch import nn


class Architecture(Protocol):
    """Creates a base network f, which maps images, (B, in_channels, H, W), to (B, C, H, W). Any
    class of `nn.Module` whose arguments have defaults is one."""

    def __call__(self, *args: Any, **options: Any) -> nn.Module:
        """Create the network.

        Args:
            args, options: settings, and what the conditioning asks for: in_channels=4 of tmap and
                sigmamap, 3 if it is not given, and time_embedding=True of mlp, where f(x, t) also
                takes the steps, (B,). A network without such an argument cannot be conditioned in
                this way.
        """
