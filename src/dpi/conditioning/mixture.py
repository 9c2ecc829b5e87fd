"""mixture: several parameter sets with learned weights, the form of Remix-DiT."""

from dpi.architectures import Architecture
from dpi.frameworks import Framework
from dpi.interpolation import Interpolated, Mode, interpolate


def Mixture(
    network: Architecture,
    framework: Framework,
    num_sets: int = 4,
    mode: Mode = "auto",
) -> Interpolated:
    """g(x, s) = f(theta(s), x) with theta(s) = sum_k p_k(s) theta_k and p(s) = softmax(phi(s)).

    Args:
        network: creates the base network f.
        framework: defines the number of scalars.
        num_sets: K.
        mode: see `dpi.interpolation.interpolate`.
    """
    return interpolate(
        network(),
        num_scalars=framework.num_scalars,
        schedule="mixture",
        num_sets=num_sets,
        mode=mode,
    )
