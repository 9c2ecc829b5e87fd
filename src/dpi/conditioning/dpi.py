"""DPI: the scalar interpolates between two sets of the network's parameters (Section 3)."""

from collections.abc import Iterable
from typing import Literal

from dpi.architectures import Architecture
from dpi.frameworks import Framework
from dpi.interpolation import Interpolated, InterpolationFunction, Mode, interpolate


def DPI(
    network: Architecture,
    framework: Framework,
    schedule: Literal["learnable", "linear"] = "learnable",
    endpoints: Literal["paper", "exact"] = "paper",
    between: Literal["linear", "nearest"] = "linear",
    init: Literal["copy", "independent"] = "copy",
    num_sets: int = 2,
    include: Iterable[str] = ("*",),
    mode: Mode = "auto",
) -> Interpolated:
    """g(x, s) = f((1 - lambda(s)) theta0 + lambda(s) theta1, x) for a base network f.

    Args:
        network: creates the base network f.
        framework: defines the number of scalars.
        schedule, endpoints, between, num_sets: see `dpi.interpolation.InterpolationFunction`.
        init: theta1 is a copy of theta0, or drawn as theta0 was, "independent" of it.
        include, mode: see `dpi.interpolation.interpolate`.

    Raises:
        ValueError: an unknown option.
    """
    if init not in ("copy", "independent"):
        raise ValueError(f"init must be 'copy' or 'independent', got {init!r}")
    weights = InterpolationFunction(
        framework.num_scalars, schedule, endpoints, between, num_sets=num_sets
    )
    net = interpolate(network(), schedule=weights, include=include, mode=mode)
    for theta in net.thetas()[1:] if init == "independent" else []:
        theta.load_state_dict(network().state_dict(), strict=False)  # it lacks what is shared
    return net
