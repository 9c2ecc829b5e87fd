"""The network inside a conditioning."""

from torch import nn

from dpi.interpolation import Interpolated


def bare(network: nn.Module) -> nn.Module:
    """The network f that a conditioned network g(x, s) runs.

    This is what to compile: how it is told its scalar depends on the batch, f itself does not.
    """
    return network.theta0 if isinstance(network, Interpolated) else network.network
