"""FiLM: an embedding of the scalar scales and shifts the output of every layer."""

from collections.abc import Iterable

from dpi import interpolation
from dpi.architectures import Architecture
from dpi.frameworks import Framework


def FiLM(
    network: Architecture,
    framework: Framework,
    embedding: int = 64,
    include: Iterable[str] = ("*",),
) -> interpolation.FiLM:
    """g(x, s) = f(x), whose linear and convolutional layers are scaled and shifted by s.

    Args:
        network: creates the base network f, which may itself be conditioned on s.
        framework: defines the number of scalars.
        embedding, include: see `dpi.interpolation.FiLM`.
    """
    return interpolation.FiLM(
        network(), num_scalars=framework.num_scalars, include=include, embedding=embedding
    )
