"""What the README says: its code runs, its numbers and figures come from the committed rows."""

import importlib.util
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpi.reporting.pairs import compare

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ROWS = {
    "DRUNet": ROOT / "results/reproduction/results.csv",
    "ADM": ROOT / "results/reproduction/adm/results.csv",
}
NAMES = {"ncsnv2": "NCSNv2", "sigmamap": "σ map", "tmap": "t map", "mlp": "MLP", "dpi": "**DPI**"}


def errors(network: str) -> pd.DataFrame:
    """The mean error of each run of Table 2, a row a seed, a column a conditioning."""
    rows = pd.read_csv(ROWS[network], low_memory=False)
    own = rows[(rows.metric == "mse") & rows.scalar.isna() & rows.variant.isna()]
    return own.pivot(index="seed", columns="cond", values="value")


def below(network: str, cond: str) -> pd.Series:
    """By how many percent DPI's error is below that of another conditioning, paired by seed."""
    table = errors(network)[["dpi", cond]].stack().rename("value").reset_index()
    table = table.rename(columns={"cond": "row"}).assign(block="", column="")
    return compare(table[table.row == "dpi"], table[table.row == cond]).iloc[0]


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_the_code_runs(block):
    exec(block, {})


def test_the_table_of_results():
    means = pd.DataFrame({network: errors(network).mean() for network in ROWS})
    for cond, name in NAMES.items():
        cells = ["" if pd.isna(v) else f"{v:.4f}" for v in means.loc[cond]]
        cells = [f"**{cell}**" if cond == "dpi" else cell for cell in cells]
        assert re.sub(" +", " ", f"| {name} | {' | '.join(cells)} |") in README


def test_the_differences():
    text = " ".join(README.split())
    drunet = below("DRUNet", "tmap")
    assert f"On DRUNet DPI's error is {-drunet.percent:.1f} % below that of the t map" in text
    low, high = -drunet.percent - drunet.half, -drunet.percent + drunet.half
    assert f"95 % interval {low:.1f} to {high:.1f} %" in text
    tmap, mlp = (-below("ADM", cond).percent for cond in ("tmap", "mlp"))
    assert f"on ADM {tmap:.1f} % below the t map and {mlp:.1f} % below the MLP" in text
    wider = pd.read_csv(ROOT / "results/reproduction/ablations.csv")
    own = wider[(wider.metric == "mse") & wider.scalar.isna() & wider.variant.str.contains("181")]
    assert f"on DRUNet has an error of {own.value.mean():.4f}." in text
    seeds = [len(errors(network)) for network in ROWS]
    assert seeds == [5, 5] and "means of five seeds" in text
    worse = [errors(network).mean() for network in ("ADM", "DRUNet")]
    low, high = (100 * (mean.ncsnv2 / mean.dpi - 1) for mean in worse)
    assert f"its error is {low:.0f} to {high:.0f} % above DPI's" in text


def test_the_comparison_in_short():
    page = (ROOT / "docs/CONDITIONING.md").read_text()
    rows = pd.read_csv(ROOT / "results/conditioning/costs.csv")
    costs = rows.pivot_table("value", ["arch", "model"], "metric")

    def share(arch: str, model: str) -> tuple[str, str]:
        """Of DPI's parameters and of the time of its training step, in percent."""
        own, dpi = costs.loc[arch, model], costs.loc[arch, "DPI"]
        percent = 100 * own[["parameters", "training_step_s"]] / dpi
        return f"{percent.parameters:.0f} %", f"{percent.training_step_s:.0f} %"

    def both(*names: str) -> str:
        return "cond.dpi.include = " + ", ".join(f"network.{name}.*" for name in names)

    text = " ".join(README.split())
    parameters, time = share("drunet", "FiLM, include = *.conv1")
    assert f"convolution, with {parameters} of its parameters in {time} of the time" in text
    parameters, time = share("drunet", "DPI, include = head.*, encoder.0.*, decoder.2.*, tail.*")
    assert f"finest level alone (`include=`), with {parameters} in {time}." in text
    finest = both("head", "encoder.0", "decoder.2", "tail")
    parameters, time = share("drunet", f"DPI + FiLM, {finest}, cond.film.include = *.conv1")
    (below,) = re.findall(
        r"\| DPI \+ FiLM, finest level.* \| 0.04\d+ \| -([\d.]+) ± [\d.]+ \*", page
    )
    assert (
        f"on DRUNet {below} % below DPI of all layers with {parameters} of its parameters in "
        f"{time} of the time"
    ) in text
    finest = both("encoder.0", "encoder.1", "encoder.2", "decoder.6", "decoder.7", "out")
    parameters, time = share("adm", f"DPI + MLP, {finest}")
    assert f"as low an error with {parameters} of the parameters in {time} of the time" in text
    assert re.search(r"\| DPI \+ MLP, finest level \| 0.04\d+ \| -[\d.]+ ± [\d.]+ \|", page)


@pytest.mark.parametrize("page", ["README.md", "docs/LIBRARY.md", "CHANGELOG.md"])
def test_what_it_was_tried_with(page):
    sections = (ROOT / "docs/COMPATIBILITY.md").read_text().split("\n## ")
    networks, tools = (
        len(re.findall(r"^\| (?!name )", section, re.M))
        for section in sections
        if section.startswith(("Networks\n", "Tools\n"))
    )
    assert f"{networks} networks and {tools} tools" in (ROOT / page).read_text()


def test_the_length_of_the_method():
    lines = len((ROOT / "examples/minimal.py").read_text().splitlines())
    assert f"The whole method in {round(lines, -1)} lines of PyTorch" in README


@pytest.fixture
def script():
    path = ROOT / "scripts/readme_figures.py"
    spec = importlib.util.spec_from_file_location("readme_figures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_badges_say_what_the_package_needs(script):
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    badges = script.badges()
    for name, badge in badges.items():
        assert (ROOT / f"docs/badges/{name}.svg").read_text() == badge
        assert f"(docs/badges/{name}.svg)" in README
    python = re.search(r"Python ([\d.]+)\+", badges["python"])[1]
    pytorch = re.search(r"PyTorch ([\d.]+)\+", badges["pytorch"])[1]
    assert needs["requires-python"] == f">={python}"
    assert any(of.startswith(f"torch>={pytorch},") for of in needs["dependencies"])
    assert f"![Python {python}+]" in README and f"![PyTorch {pytorch}+]" in README
    assert f"abs/{script.PAPER})" in README


def test_the_figures_are_drawn_from_the_rows(script):
    for name, drawn in (("method", script.method()), ("results", script.results())):
        committed = (ROOT / f"docs/{name}.svg").read_text()
        # The curves; what else there is depends on the version of matplotlib.
        old, new = (re.findall(r' d="(M[^"]{400,})"', text) for text in (committed, drawn))
        assert len(old) >= 1
        for a, b in zip(old, new, strict=True):
            numbers = [np.array(re.findall(r"-?[\d.]+", curve), float) for curve in (a, b)]
            np.testing.assert_allclose(*numbers, atol=0.2)
