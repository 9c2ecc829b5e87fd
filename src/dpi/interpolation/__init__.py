"""Deep parameter interpolation for any network. Requires PyTorch and nothing else."""

from dpi.interpolation.film import FiLM
from dpi.interpolation.interpolate import interpolate, parameter_groups
from dpi.interpolation.network import Interpolated, Mode
from dpi.interpolation.scalar import Range, look_up, position
from dpi.interpolation.schedule import InterpolationFunction, Mixture

__all__ = [
    "FiLM",
    "Interpolated",
    "InterpolationFunction",
    "Mixture",
    "Mode",
    "Range",
    "interpolate",
    "look_up",
    "parameter_groups",
    "position",
]
