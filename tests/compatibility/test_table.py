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
    "Forward and backward passes": (
        situations.STATE | situations.REFERENCES | situations.BATCHES | situations.GRADIENTS
    ),
    "Activation checkpointing": situations.CHECKPOINTING,
}


def check(section: str, name: str) -> tuple[str, str]:
    """What came of a row, and the remark. Raises an exception if neither right nor refused."""
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = SECTIONS[section][name]
        if isinstance(run, reference.Case):
            return reference.right(run)
        refused = tools.REFUSED.get(name, "")
        several = lambda: run(reference.PAIRS) or run(reference.UNEQUAL)  # noqa: E731
        several = None if name in tools.AT else several
        outcome, remark = reference.result(partial(run, reference.ONE), several)
    assert refused in remark and (outcome == "right") == (not refused), f"{outcome}: {remark}"
    return outcome, remark


def line(name: str, outcome: str, remark: str) -> str:
    """A row on the page: what is right without a remark is an item of a list."""
    return f"| {name} | {outcome} | {remark} |" if remark else f"- {name}"


def main() -> None:
    """Check all rows and write them to the page, between its head and what was not tested."""
    torch.set_num_threads(1)
    text = [f"Python {platform.python_version()}"]
    text += [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES.split()]
    text = [textwrap.fill(", ".join(text) + ".", 118)]
    for section, cases in SECTIONS.items():
        lines = []
        for name in cases:
            with contextlib.redirect_stdout(sys.stderr):  # what packages print
                try:
                    lines.append(line(name, *check(section, name)))
                except Exception as error:
                    said = (str(error).strip() or repr(error)).splitlines()[0]
                    lines.append(line(name, "**wrong**", said))
        right = [of.removeprefix("- ") for of in lines if of.startswith("- ")]
        others: dict[str, list[str]] = {}
        """Names by what came of them."""
        for of in lines:
            if of.startswith("| "):
                name, came = of.removeprefix("| ").split(" | ", 1)
                others.setdefault(came, []).append(name)
        text += [f"\n## {section}\n", f"Right: {'; '.join(right)}."]
        if others:
            text.append("\n| name | result | remark |\n|---|---|---|")
            text += [f"| {'; '.join(names)} | {came}" for came, names in others.items()]
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
    assert line(name, *check(section, name)) in rows(), "the page is out of date"


def test_the_page_has_no_other_rows():
    assert len(rows()) == len(ROWS)


def rows() -> list[str]:
    """The rows of the page, as `line` has them: names with the same remark share a row there."""
    lines = PAGE.read_text().splitlines()
    right = [
        of.removeprefix("Right: ")[:-1].split("; ") for of in lines if of.startswith("Right: ")
    ]
    tables = [
        of.removeprefix("| ").split(" | ", 1)
        for of in lines
        if of.startswith("| ") and not of.startswith("| name |")
    ]
    return [f"- {name}" for names in right for name in names] + [
        f"| {name} | {came}" for names, came in tables for name in names.split("; ")
    ]


if __name__ == "__main__":
    main()
