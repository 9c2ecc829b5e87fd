"""Ways to condition a network on the scalar; each makes f(x) into g(x, s)."""

from dpi.conditioning.compose import Compose
from dpi.conditioning.conditioning import Conditioning
from dpi.conditioning.dpi import DPI
from dpi.conditioning.film import FiLM
from dpi.conditioning.mixture import Mixture
from dpi.conditioning.mlp import MLP
from dpi.conditioning.ncsnv2 import NCSNv2
from dpi.conditioning.sigmamap import SigmaMap
from dpi.conditioning.tmap import TMap

__all__ = [
    "DPI",
    "MLP",
    "Compose",
    "Conditioning",
    "FiLM",
    "Mixture",
    "NCSNv2",
    "SigmaMap",
    "TMap",
]
