"""Several conditionings of one network at once."""

from functools import partial

from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.conditioning.conditioning import Conditioning
from dpi.frameworks import Framework


class Compose(nn.Module):
    """g(x, s) = g_1(x, s) of the network g_2(x, s) of the network ... of the network f.

    For example, DPI of a network with a t map interpolates its parameters, and the network has
    the t map as an input, too.

    Args:
        network: creates the base network f.
        framework: as for each conditioning.
        conditionings: the outermost first, by any names. All but the last must pass further
            arguments on to their network, as DPI, FiLM and Mixture do.

    Raises:
        ValueError: no conditionings.
    """

    def __init__(
        self,
        network: Architecture,
        framework: Framework,
        **conditionings: Conditioning,
    ) -> None:
        super().__init__()
        if not conditionings:
            raise ValueError("give at least one conditioning")
        made: Architecture = network
        for conditioning in reversed(conditionings.values()):
            made = partial(conditioning, network=made, framework=framework)
        self.network = made()
        self.depth = len(conditionings)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the framework's target; shapes as of `TMap`."""
        return self.network(x, *[s] * self.depth)
