"""Deep parameter interpolation for any network. Requires PyTorch and nothing else."""

from dpi.interpolation.baked import Baked
from dpi.interpolation.coefficients import Coefficients
from dpi.interpolation.interpolate import interpolate, parameter_groups
from dpi.interpolation.network import Interpolated, Mode
from dpi.interpolation.plan import Plan
from dpi.interpolation.scalar import Range, at, position
from dpi.interpolation.schedule import InterpolationFunction

__all__ = [
    "Baked",
    "Coefficients",
    "Interpolated",
    "InterpolationFunction",
    "Mode",
    "Plan",
    "Range",
    "at",
    "interpolate",
    "parameter_groups",
    "position",
]
