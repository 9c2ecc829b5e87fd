"""How a bare network is told the scalar: the paper's five ways, each g(x, s)."""

from dpi.conditioning.dpi import DPI
from dpi.conditioning.mlp import MLP
from dpi.conditioning.ncsnv2 import NCSNv2
from dpi.conditioning.sigmamap import SigmaMap
from dpi.conditioning.tmap import TMap

__all__ = ["DPI", "MLP", "NCSNv2", "SigmaMap", "TMap"]
