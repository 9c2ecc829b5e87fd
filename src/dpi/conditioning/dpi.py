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
    init: Literal["copy", "independent"] = "copy",
    num_sets: int = 2,
    mode: Mode = "auto",
) -> Interpolated:
    """The bare network with two parameter sets; the words are those of `interpolate`."""
    return interpolate(
        network(), framework.num_scalars, schedule, endpoints, init, num_sets, mode=mode
    )
