"""Deep parameter interpolation for any network. Imports PyTorch alone; usable on its own."""

from dpi.interpolation.baked import Baked
from dpi.interpolation.doubling import interpolate, parameter_groups
from dpi.interpolation.function import InterpolationFunction
from dpi.interpolation.network import Interpolated, Mode
from dpi.interpolation.scalar import at, position

__all__ = [
    "Baked",
    "Interpolated",
    "InterpolationFunction",
    "Mode",
    "at",
    "interpolate",
    "parameter_groups",
    "position",
]
