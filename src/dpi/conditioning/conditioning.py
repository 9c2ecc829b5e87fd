"""The interface of a conditioning."""

from typing import Protocol

from torch import nn

from dpi.architectures import Architecture
from dpi.frameworks import Framework


class Conditioning(Protocol):
    """Makes g(x, s) of a base network f(x). Any class of `nn.Module`, or function that returns
    one, with these two arguments is one; its further arguments need defaults."""

    def __call__(self, network: Architecture, framework: Framework) -> nn.Module:
        """Create the conditioned network.

        Args:
            network: creates f; is called once.
            framework: defines the number of scalars.

        Returns:
            g, called as g(x, s) with images x, (B, C, H, W), and s of shape () or (B,), integer
            steps in [0, S-1] or floats in [0, 1], on the CPU. Predicts the framework's target,
            (B, C, H, W).

        Raises:
            Excluded: the network or the framework cannot be conditioned in this way.
        """
