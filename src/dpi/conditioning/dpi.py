"""DPI: the scalar interpolates between two sets of the network's parameters (Section 3)."""

from collections.abc import Iterable
from typing import Literal

from dpi.architectures import Architecture
from dpi.frameworks import Framework
from dpi.interpolation import Interpolated, Mode, interpolate


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
        schedule, endpoints, between, init, num_sets, include, mode: see
            `dpi.interpolation.interpolate`.
    """
    return interpolate(
        network(),
        framework.num_scalars,
        schedule,
        endpoints,
        between,
        init,
        num_sets,
        include=include,
        mode=mode,
    )
