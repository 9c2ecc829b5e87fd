"""Print this interpreter's path if it has the packages, and this checkout of dpi, installed."""

import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = (
    "torch",
    "hydra",
    "lightning",
    "diffusers",
    "torchdiffeq",
    "torch_fidelity",
    "pytest",
    "ruff",
    "mypy",
    "timm",
)

here = Path(__file__).resolve().parents[1] / "src" / "dpi"
dpi = find_spec("dpi")
if dpi and Path(dpi.origin).resolve().parent == here and all(map(find_spec, NEEDED)):
    print(sys.executable)
