"""Ways to condition a network on the scalar; each makes f(x) into g(x, s).

A conditioning is one file, one configuration and one test:

- NAME.py here, which begins with a docstring "LABEL: what it does". Reports, --help and the table
  of docs/CONDITIONING.md take label and text from there, see `dpi.described`. Its class or function
  is imported below. A downloaded configuration may name what `__all__` holds, and nothing else.
- configs/cond/NAME.yaml, its options; cond=NAME chooses it.
- A row of each table in tests/conditioning.
"""

from dpi.conditioning.compose import Compose
from dpi.conditioning.conditioning import Conditioning
from dpi.conditioning.dpi import DPI
from dpi.conditioning.film import FiLM
from dpi.conditioning.mixture import Mixture
from dpi.conditioning.mlp import MLP
from dpi.conditioning.ncsnv2 import NCSNv2
from dpi.conditioning.sigmamap import SigmaMap
from dpi.conditioning.sinusoidal import Sinusoidal
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
    "Sinusoidal",
    "TMap",
]
