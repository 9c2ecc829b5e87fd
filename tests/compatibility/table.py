"""Writes the table of docs/COMPATIBILITY.md:

python tests/compatibility/table.py > docs/COMPATIBILITY.md
"""

import contextlib
import platform
import sys
import textwrap
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs/COMPATIBILITY.md"

PACKAGES = [
    *("torch", "torchvision", "timm", "diffusers", "transformers", "monai"),
    *("segmentation-models-pytorch", "peft", "accelerate", "lightning", "ema-pytorch", "torchao"),
    *("torchdiffeq", "safetensors", "onnx", "onnxscript", "onnxruntime"),
]

HEAD = """# Compatibility

<!-- Written by: python tests/compatibility/table.py > docs/COMPATIBILITY.md -->

What `dpi.interpolation.interpolate` was tried with. `tests/compatibility` checks every row and
writes this page:

    python tests/compatibility/table.py > docs/COMPATIBILITY.md
    python -m pytest tests/compatibility

For networks, the values and the gradients of theta0, theta1, phi and the inputs are compared with
Equation (2) written out by hand, one sample at a time, with and without gradients, for
`mode="auto"` and `mode="grouped"`, and for each way in which one pass computes a product. All
networks are small and have random weights. For tools, a small network in that use is compared.

- **works**: equal to the reference.
- **one pass**, **grouped**: equal to the reference; how a batch with several scalars is run. The
  remark says why it is grouped, as `net.last_run` does. `mode="grouped"` works too unless the
  remark says otherwise.
- **refused**: an error; the remark is its message.
- **wrong**: a known fault. The remark says what is seen.
- An empty cell: does not apply.

Python {python}; {versions}.
"""

NOT_TESTED = """## Not tested

- CUDA graphs (`torch.cuda.graph`, `torch.compile(mode="reduce-overhead")`): they need a GPU.
- `nn.DataParallel` on several GPUs.
- Several machines; FSDP2 together with tensor or pipeline parallelism.
- Pretrained weights: nothing is downloaded.
"""


def rows() -> dict[str, list[str]]:
    """The names of all rows, by section."""
    from compatibility.networks import NETWORKS
    from compatibility.tools import TOOLS

    return {"Networks": list(NETWORKS), "Tools": list(TOOLS)}


def check(section: str, name: str) -> Any:
    """What is seen for one row. Raises if it is wrong."""
    from compatibility.check import check_network, check_tool
    from compatibility.networks import NETWORKS
    from compatibility.tools import ONE_SCALAR, TOOLS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if section == "Networks":
            return check_network(name, NETWORKS[name])
        return check_tool(name, TOOLS[name], many=name not in ONE_SCALAR)


def render(row: Any) -> str:
    """A line of the table."""
    cells = [row.name, row.one, row.many, row.remark]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def committed() -> dict[str, str]:
    """The lines of the committed table, by name."""
    lines = COMMITTED.read_text().splitlines() if COMMITTED.exists() else []
    return {line[2:].split(" | ")[0]: line for line in lines if line.startswith("| ")}


def versions() -> str:
    found = []
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)


def main() -> int:
    """Print the page; returns 1 if a row is wrong."""
    import torch

    sys.path.insert(0, str(ROOT / "tests"))
    from compatibility.check import Wrong

    torch.set_num_threads(1)
    wrong = []
    with contextlib.redirect_stdout(sys.stderr):  # what packages print
        sections = []
        for section, names in rows().items():
            lines = [f"## {section}", "", "| name | one scalar | many scalars | remark |"]
            lines.append("|---|---|---|---|")
            for name in names:
                try:
                    row = check(section, name)
                except Wrong as error:
                    row = error.row
                    wrong.append(f"{name}: {error}")
                lines.append(render(row))
            sections.append("\n".join(lines))
    *head, last = HEAD.rstrip().split("\n\n")
    last = last.format(python=platform.python_version(), versions=versions())
    last = textwrap.fill(last, 100)
    print("\n\n".join([*head, last, *sections, NOT_TESTED.rstrip()]))
    print("\n".join(["wrong:", *wrong]) if wrong else "all right", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
