"""The LightningModule, what it is fed, and what happens beside the optimizer steps."""

from dpi.training.fit import fit

__all__ = ["fit"]
