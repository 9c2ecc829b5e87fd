"""DPI: the scalar moves the network's parameters between two sets (Section 3)."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from dpi.frameworks import Framework
from dpi.interpolation import Interpolated, Mode, interpolate


def DPI(
    network: Callable[..., nn.Module],
    framework: Framework,
    schedule: Literal["learnable", "linear"] = "learnable",
    endpoints: Literal["paper", "exact"] = "paper",
    between: Literal["linear", "nearest"] = "linear",
    init: Literal["copy", "independent"] = "copy",
    num_sets: int = 2,
    mode: Mode = "auto",
) -> Interpolated:
    """The bare network with two parameter sets; the words are those of `interpolate`."""
    scalars = framework.num_scalars
    return interpolate(network(), scalars, schedule, endpoints, between, init, num_sets, mode=mode)
