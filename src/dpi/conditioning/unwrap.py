"""The network f inside a conditioned network g(x, s)."""

from torch import nn

from dpi.interpolation import Interpolated


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network f that a conditioned network g(x, s) runs.

    This is the module to compile. How g uses s depends on the batch, while f is static.

    Args:
        network: one of the conditionings of this package.
    """
    return network.theta0 if isinstance(network, Interpolated) else network.network
