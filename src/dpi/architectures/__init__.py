"""Bare networks f(theta, x). They know nothing of the scalar; ADM takes an optional embedding."""

from dpi.architectures.adm import ADM
from dpi.architectures.drunet import DRUNet
from dpi.architectures.importers import import_dpir, import_guided_diffusion

__all__ = ["ADM", "DRUNet", "import_dpir", "import_guided_diffusion"]
