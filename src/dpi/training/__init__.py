"""The LightningModule, its data, and what happens beside the optimizer steps."""

from dpi.training.fit import fit

__all__ = ["fit"]
