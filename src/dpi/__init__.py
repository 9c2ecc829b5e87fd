"""Deep parameter interpolation: networks conditioned on a scalar through their parameters."""
