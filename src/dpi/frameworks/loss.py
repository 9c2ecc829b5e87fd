"""The training loss of every framework."""

from torch import Tensor

from dpi.frameworks.framework import Framework
from dpi.frameworks.precondition import predict
from dpi.frameworks.samplers import Network


def loss(network: Network, framework: Framework, x: Tensor, noise: Tensor, s: Tensor) -> Tensor:
    """The squared error of the prediction, averaged over the elements of each sample,

        || g(x_s, s) - target ||^2 / (3 H W),   (x_s, target) = corrupt(x, noise, s),

    where g is preconditioned if the framework says so, see `predict`.

    Args:
        network: g, conditioned on the scalar.
        framework: defines the corrupted images x_s and the target.
        x: images in [-1, 1], shape (B, C, H, W).
        noise: standard normal, shape (B, C, H, W).
        s: one scalar for the batch, shape (), or one per sample, (B,): integer steps in [0, S-1]
            or floats in [0, 1].

    Returns:
        The loss of each sample, shape (B,), float32 also under autocast.
    """
    corrupted, target = framework.corrupt(x, noise, s)
    prediction = predict(framework, network, corrupted, s).float()
    return (prediction - target).square().flatten(1).mean(dim=1)
