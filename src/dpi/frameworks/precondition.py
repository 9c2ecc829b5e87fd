"""Preconditioning: the network predicts what is unknown of the target."""

from torch import Tensor

from dpi.frameworks.framework import Framework
from dpi.frameworks.samplers import Network


def predict(framework: Framework, network: Network, x: Tensor, s: Tensor) -> Tensor:
    """The prediction of a framework's target,

        c_skip(s) x_s + c_out(s) g(x_s, s)      with framework.precondition, else      g(x_s, s).

    c_skip(s) x_s is the best linear prediction for data of unit variance, and c_out(s)^2 is the
    variance of what remains (as Karras et al., 2022, derive for another parameterization).

    Args:
        framework: gives c_skip and c_out.
        network: g, conditioned on the scalar.
        x: corrupted images x_s, shape (B, C, H, W).
        s: shape () or (B,), integer steps in [0, S-1] or floats in [0, 1].

    Returns:
        Shape (B, C, H, W).
    """
    prediction = network(x, s)
    if not framework.precondition:
        return prediction
    skip, out = (c.reshape(-1, 1, 1, 1) for c in framework.preconditioning(s))
    skip, out = (c.to(x.device, non_blocking=True) for c in (skip, out))
    return skip * x + out * prediction
