"""Deep parameter interpolation: networks conditioned on a scalar through their parameters."""

__version__ = "0.1.0"
