"""README's code runs, and its badges say what the package needs."""

import re
import tomllib

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_the_code_runs(block):
    exec(block, {})


def test_the_badges_say_what_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch,) = (of for of in project["dependencies"] if of.startswith("torch>"))
    needs = {"Python": project["requires-python"], "PyTorch": torch}
    for name, versions in needs.items():
        lowest = re.search(r">=([\d.]+)", versions)[1]
        badge = (ROOT / f"docs/badges/{name.lower()}.svg").read_text()
        assert f"<title>{name} {lowest}+</title>" in badge
        assert f"[![{name} {lowest}+](docs/badges/{name.lower()}.svg)]" in README
