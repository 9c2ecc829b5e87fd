"""Deep parameter interpolation: a network is told a scalar by its parameters."""
