"""Base networks f(theta, x), not conditioned on a scalar; ADM has an optional time embedding."""

from dpi.architectures.adm import ADM
from dpi.architectures.architecture import Architecture
from dpi.architectures.drunet import DRUNet
from dpi.architectures.importers import import_dpir, import_guided_diffusion

__all__ = ["ADM", "Architecture", "DRUNet", "import_dpir", "import_guided_diffusion"]
