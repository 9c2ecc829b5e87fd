"""Every row of docs/COMPATIBILITY.md: right or clearly refused, as the page says.

After a change, this writes its tables: python tests/compatibility/test_table.py
"""

import contextlib
import importlib.metadata
import platform
import sys
import textwrap
import warnings
from functools import partial
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/COMPATIBILITY.md"
sys.path.append(str(PAGE.parents[1] / "tests"))

import pytest  # noqa: E402
import torch  # noqa: E402
from compatibility import networks, reference, situations, tools  # noqa: E402

PACKAGES = (
    "torch torchvision timm diffusers transformers monai segmentation-models-pytorch peft "
    "accelerate lightning ema-pytorch torchao torchdiffeq safetensors onnx onnxscript onnxruntime"
)
SECTIONS = {
    "Networks": networks.NETWORKS,
    "Tools": tools.TOOLS,
    "State": situations.STATE,
    "References": situations.REFERENCES,
    "Batches": situations.BATCHES,
    "Gradients": situations.GRADIENTS,
    "Activation checkpointing": situations.CHECKPOINTING,
}


def check(section: str, name: str) -> str:
    """A line of the table. Raises an exception if what is seen is neither right nor refused."""
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = SECTIONS[section][name]
        if isinstance(run, reference.Case):
            return f"| {name} | {' | '.join(reference.right(run))} |"
        refused = tools.REFUSED.get(name, "")
        several = lambda: run(reference.PAIRS) or run(reference.UNEQUAL)  # noqa: E731
        several = None if name in tools.AT else several
        outcome, remark = reference.result(partial(run, reference.ONE), several)
    assert refused in remark and (outcome == "right") == (not refused), f"{outcome}: {remark}"
    return f"| {name} | {outcome} | {remark} |"


def main() -> None:
    """Check all rows and write them to the page, between its head and what was not tested."""
    torch.set_num_threads(1)
    text = [f"Python {platform.python_version()}"]
    text += [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES.split()]
    text = [textwrap.fill(", ".join(text) + ".", 100)]
    for section, cases in SECTIONS.items():
        text.append(f"\n## {section}\n\n| name | result | remark |\n|---|---|---|")
        for name in cases:
            with contextlib.redirect_stdout(sys.stderr):  # what packages print
                try:
                    text.append(check(section, name))
                except Exception as error:
                    said = (str(error).strip() or repr(error)).splitlines()[0]
                    text.append(f"| {name} | **wrong** | {said} |")
    page = PAGE.read_text()
    head, end = page[: page.index("\nPython ") + 1], page[page.index("\n## Not tested") :]
    PAGE.write_text(head + "\n".join(text) + "\n" + end)


SLOW = "UNet2DModel", "SwinUNETR", "2 processes", "Trainer.fit", "diffusers EMAModel"
ROWS = [
    pytest.param(section, name, marks=[pytest.mark.slow] * any(word in name for word in SLOW))
    for section, cases in SECTIONS.items()
    for name in cases
]


@pytest.mark.parametrize(("section", "name"), ROWS)
def test_row(section, name):
    assert check(section, name) in PAGE.read_text().splitlines(), "the page is out of date"


def test_the_page_has_no_other_rows():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == len(ROWS) + len(SECTIONS)


if __name__ == "__main__":
    main()
