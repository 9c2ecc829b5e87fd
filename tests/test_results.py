"""The committed tables are what their commands make of the committed rows."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from dpi.cli import register_resolvers
from dpi.evaluation.complexity import gflops
from dpi.reporting import report
from dpi.reporting.pairs import compare
from dpi.reporting.paper import printed
from dpi.runs.build import build_meta
from dpi.training.averaging import ema_lag

ROOT = Path(__file__).parents[1]
ARCHS = ("drunet", "adm")


@pytest.mark.parametrize("folder", [".", "adm"])
def test_the_reproduction_is_made_from_its_rows(folder, tmp_path):
    committed, made = ROOT / "results/reproduction" / folder, tmp_path / "faces64-mini"
    report(committed / "results.csv", tmp_path)
    for name in ("table2.md", "table5.md", "pairs.md"):
        assert (committed / name).read_text() == (made / name).read_text(), name


@pytest.mark.parametrize(("rows", "folder"), [("*.csv", "ablations"), ("adm/*.csv", "adm/wider")])
def test_the_ablations_are_made_from_their_rows(rows, folder, tmp_path):
    report(ROOT / "results/reproduction" / rows, tmp_path)
    for name in ("ablations.md", "pairs.md"):
        committed = ROOT / "results/reproduction" / folder / name
        assert committed.read_text() == (tmp_path / "faces64-mini" / name).read_text(), name


def words(path: str) -> str:
    """A page with single spaces."""
    return " ".join((ROOT / path).read_text().split())


def table_rows(path: str) -> list[tuple[list[str], list[str]]]:
    """The rows of all tables of a page, each with the head of its table."""
    rows, head = [], None
    for line in (ROOT / path).read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if head and cells:
            rows.append((head, cells))
        head = cells and (head or cells)
    return rows


def column(path: str, title: str, row: str, at: int = 0) -> list[str]:
    """The cells under a title in all rows that have these words in column `at`."""
    named = [(head, cells) for head, cells in table_rows(path) if cells[at] == row]
    return [c for head, cells in named for t, c in zip(head, cells, strict=True) if t == title]


def compared(path: str) -> dict[tuple[str, ...], list[str]]:
    """Of a committed pairs.md: the cells of a comparison, by block, metric and the other row."""
    return {
        (cells[1], cells[2].partition(",")[0], cells[3].partition(" against ")[2]): cells
        for _, cells in table_rows(f"results/reproduction/{path}")
        if cells[0].startswith("Table ") and " to " in cells[6]
    }


def pairs(path: str) -> dict[tuple[str, ...], tuple[float, float, float]]:
    """Of a committed pairs.md: percent and its interval, by block, metric and the other row."""
    return {
        key: (float(cells[5]), *map(float, cells[6].split(" to ")))
        for key, cells in compared(path).items()
    }


def test_the_reproduction_quotes_its_pairs():
    text = " ".join((ROOT / "docs/REPRODUCTION.md").read_text().split())
    drunet, adm, wider = map(pairs, ("pairs.md", "adm/pairs.md", "ablations/pairs.md"))
    mean, low, high = drunet["DRUNet, diffusion", "mean over schedule", "t map"]
    over = [
        drunet["DRUNet, diffusion", "mean over schedule", row][0] for row in ("NCSNv2", "σ map")
    ]
    at = [drunet["DRUNet, diffusion", f"t = {t}", "t map"][0] for t in (0, 333, 666, 999)]
    quoted = [
        f"Over the schedule it is {-mean:.1f} % below the t map (95 % interval {-high:.1f} to "
        f"{-low:.1f}), {-over[0]:.0f} % below NCSNv2 and {-over[1]:.0f} % below the σ map",
        f"DRUNet: {-at[0]:.1f} % below the t map at t = 0, {-at[1]:.0f} % at t = 333, "
        f"{-at[2]:.0f} % at t = 666, but {-at[3]:.0f} %, not significant, at t = 999",
    ]
    mean, low, high = adm["ADM, diffusion", "mean over schedule", "MLP"]
    over = [
        adm["ADM, diffusion", "mean over schedule", row][0] for row in ("t map", "NCSNv2", "σ map")
    ]
    at = [adm["ADM, diffusion", f"t = {t}", "MLP"][0] for t in (0, 333, 666, 999)]
    quoted += [
        f"over the schedule {-mean:.1f} % below the MLP ({-high:.1f} to {-low:.1f}), "
        f"{-over[0]:.1f} % below the t map, {-over[1]:.1f} and {-over[2]:.1f} % below NCSNv2 and "
        "the σ map, all significantly",
        f"level with the MLP ({at[0]:+.2f} %, not significant)",
        f"ADM: {-at[2]:.0f} % below the MLP at t = 666, {-at[3]:.0f} % at t = 999, "
        f"{-at[1]:.1f} % at t = 333",
    ]
    learned = {
        (block, framework): of[block, framework, "λ(s) = s"]
        for block, of in (("DRUNet", drunet), ("ADM", adm))
        for framework in ("diffusion", "flow")
    }
    percent, low, high = learned["ADM", "flow"]
    quoted += [
        f"DRUNet: {-learned['DRUNet', 'diffusion'][0]:.1f} % lower in diffusion and "
        f"{-learned['DRUNet', 'flow'][0]:.2f} % in flow",
        f"{-learned['ADM', 'diffusion'][0]:.1f} % lower in diffusion, significant, and level in "
        f"flow ({percent:+.2f} %, {low:+.2f} to {high:+.2f})",
    ]
    own = {
        metric: of
        for (block, metric, row), of in wider.items()
        if block == "DRUNet, diffusion" and row.endswith("181")
    }
    mean, low, high = own["mean over schedule"]
    quoted += [
        f"it is {-mean:.1f} % below the wider t map (95 % interval {-high:.1f} to {-low:.1f}), "
        f"{-own['t = 333'][0]:.0f} and {-own['t = 666'][0]:.0f} % at t = 333 and 666, level at "
        f"t = 0, and {own['t = 999'][0]:.0f} % above it at t = 999"
    ]
    of = pairs("adm/wider/pairs.md")
    mlp = {metric: found for (_, metric, row), found in of.items() if row.endswith("= 40")}
    mean, low, high = mlp["mean over schedule"]
    quoted += [
        f"DPI is {-mean:.1f} % below it (95 % interval {-high:.1f} to {-low:.1f}, three seeds)",
        f"At t = 0 the wider MLP is {mlp['t = 0'][0]:.1f} % ahead, at t = 666 and 999 DPI is "
        f"{-mlp['t = 666'][0]:.0f} and {-mlp['t = 999'][0]:.0f} % ahead",
    ]
    changes, block = {}, ""
    for line in (ROOT / "results/reproduction/ablations/ablations.md").read_text().splitlines():
        if found := re.match(
            r"\| +([^|]*?) +\| ([a-z_]+ = [^|]*?) +\|.* ([+-][\d.]+)( ± [\d.]+)? \|$", line
        ):
            changes[block, found[2]] = float(found[3]), found[4]
        elif line.startswith("| DRUNet"):
            block = line.split("|")[1].rpartition(", ")[2].strip()
    t_map, own = (
        [changes[cond, f"distinct_scalars = {n}"][0] for n in (2, 4, 16)]
        for cond in ("t map", "DPI")
    )
    one = [changes[cond, "distinct_scalars = 1"] for cond in ("t map", "DPI")]
    shown = [f"{change:.0f} ± {float(half[3:]):.0f} %" for change, half in one]
    quoted += [f"costs the t map {shown[0]} and DPI {shown[1]} (95 % intervals, three seeds)"]
    independent, exact = (
        changes["DPI", setting] for setting in ("init = independent", "endpoints = exact")
    )
    quoted += [
        f"the t map's error is {t_map[0]:.1f}, {t_map[1]:.1f} and {t_map[2]:.1f} % above that with "
        f"8, DPI's {own[0]:.1f}, {own[1]:.1f} and {own[2]:.1f} %",
        f"lowers the error by {-independent[0]:.1f} ± {float(independent[1][3:]):.1f} % (three "
        f"seeds), lambda from 0 to 1 by {-exact[0]:.2f} %",
    ]
    for sentence in quoted:
        assert sentence in text


def test_the_reproduction_says_what_is_significant():
    text = words("docs/REPRODUCTION.md")
    level = [
        {key for key, cells in compared(path).items() if cells[8] == "not significant"}
        for path in ("pairs.md", "adm/pairs.md")
    ]
    assert level[0] == {("DRUNet, diffusion", "t = 999", "t map")}
    assert "significantly so in all but t = 999 (t map)" in text
    assert level[1] == {("ADM, diffusion", "t = 0", "MLP"), ("ADM", "flow", "λ(s) = s")}
    of = compared("ablations/pairs.md").items()
    wider = {key[1]: cells[8] for key, cells in of if key[2].endswith("181")}
    assert {metric for metric, said in wider.items() if said == "not significant"} == {"t = 0"}
    assert wider["t = 999"] == "worse" and "all but the level one significantly" in text
    of = compared("adm/wider/pairs.md").items()
    assert "an MLP on ADM is level with it" in words("README.md")
    assert {cells[8] for key, cells in of if key[2].endswith("= 40")} == {"not significant"}
    assert "none of it significantly" in text


def mean_error(path: str, cond: str, variant: str | None = None) -> float:
    """Over the schedule and all seeds, from the rows of the reproduction."""
    rows = pd.read_csv(ROOT / "results/reproduction" / path, low_memory=False)
    own = rows[(rows.metric == "mse") & rows.scalar.isna() & (rows.cond == cond)]
    return own[own.variant.isna() if variant is None else own.variant == variant].value.mean()


def cost(*overrides: str) -> tuple[int, float]:
    """Parameters and all GFLOPs of a network at scale=mini, from its code."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", [*overrides, "scale=mini", "run=none"])
    return sum(p.numel() for p in build_meta(cfg).parameters()), gflops(cfg)[1]


def test_the_wider_networks_cost_and_err_as_the_reproduction_says():
    text, wide = words("docs/REPRODUCTION.md"), "23, 45, 91, 181"
    costs = [
        cost("arch=drunet", "cond=tmap"),
        cost("arch=drunet", "cond=tmap", f"arch.channels=[{wide}]"),
        cost("arch=drunet", "cond=dpi"),
    ]
    errors = [
        mean_error("results.csv", "tmap"),
        mean_error("ablations.csv", "tmap", f"channels = {wide}"),
        mean_error("results.csv", "dpi"),
    ]
    named = [("t map", "16, 32, 64, 128"), ("t map", wide), ("DPI", "16, 32, 64, 128")]
    for (cond, width), (parameters, flops), error in zip(named, costs, errors, strict=True):
        shown = f"**{error:.4f}**" if cond == "DPI" else f"{error:.4f}"
        assert f"| {cond} | {width} | {parameters / 1e6:.2f} M | {flops:.3f} | {shown} |" in text
    assert round(costs[2][0] / costs[0][0], 2) == 2
    assert "DPI has twice the t map's parameters" in words("README.md")
    assert round(5 * (errors[0] - errors[1]) / (errors[0] - errors[2])) == 2
    assert "Two fifths of DPI's lead are due to size" in text
    assert f"DPI takes {costs[2][1] / costs[1][1]:.2f} times the wider network's op" in text
    mlp, dpi = cost("arch=adm", "cond=mlp", "arch.base_channels=40"), cost("arch=adm", "cond=dpi")
    assert (
        f"({mlp[0] / 1e6:.2f} M parameters to DPI's {dpi[0] / 1e6:.2f} M, {mlp[1] / dpi[1]:.1f} "
        "times the operations)"
    ) in text
    one = mean_error("ablations.csv", "dpi", "distinct_scalars = 1")
    assert f"({one:.4f}) is no better than the t map with eight ({errors[0]:.4f})" in text


def test_the_reproduction_quotes_the_paper():
    text = words("docs/REPRODUCTION.md")
    mean = {key[1:]: row["mean"] for key, row in printed("table2").items()}
    ahead = 100 * (1 - mean["adm", "tmap"] / mean["adm", "mlp"])
    assert f"where the paper has the t map ahead by {ahead:.2f} %" in text
    flow = {key[1:]: row["flow"] for key, row in printed("table5").items()}
    gains = [100 * (1 - flow[arch, "λ learned"] / flow[arch, "λ(s) = s"]) for arch in ARCHS]
    assert f"largest gains, {gains[0]:.0f} and {gains[1]:.0f} % in flow" in text
    costs = printed("table4")
    own, of = ([costs["diffusion", arch, cond] for arch in ARCHS] for cond in ("dpi", "tmap"))
    parameters, memory, flops = (
        [dpi[column] / tmap[column] for dpi, tmap in zip(own, of, strict=True)]
        for column in ("parameters", "memory", "gflops")
    )
    assert [round(ratio, 2) for ratio in parameters] == [2, 2]
    low, high = sorted(100 * (ratio - 1) for ratio in memory)
    assert (
        f"Twice the parameters for {100 * (max(flops) - 1):.2f} % more operations and {low:.0f} to "
        f"{high:.0f} % more memory (Table 4)"
    ) in text
    millions = [row["parameters"] for row in costs.values()]
    assert (
        f"1 to 3 million parameters instead of {min(millions):.0f} to {max(millions):.0f}," in text
    )


@pytest.mark.slow
def test_the_counts_at_paper_size_are_those_of_the_code():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/counts.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout == (ROOT / "results/counts.md").read_text()
    assert "in every row that the paper prints: True." in done.stdout


def test_a_step_on_a_gpu_takes_what_the_page_of_the_gpu_says():
    one, eight = (
        [float(cell) for cell in column("results/gpu.md", "over t map", row, at=1) if cell]
        for row in ("DPI, 1 scalar", "DPI, 8 scalars")
    )
    readme = words("README.md")
    low, high = (100 * (ratio - 1) for ratio in (min(one), max(one)))
    assert f"One scalar in a batch adds {low:.0f} to {high:.0f} % to a training step" in readme
    # The fourth has ADM's weights channels last, which is no longer the default.
    drunet, adm = [*eight[:2], eight[4]], [eight[2], eight[5]]
    finest = column("results/gpu.md", "over t map", "DPI of the finest level, 8 scalars", at=1)
    assert (
        f"With eight scalars it takes {min(drunet + adm)} to {max(drunet + adm)} times as long, at "
        f"the finest level alone {min(finest)} to {max(finest)} times"
    ) in readme
    mini = [
        float(*column("docs/PERFORMANCE.md", "DPI, 8 scalars", f"{arch}, 16x16"))
        for arch in ("DRUNet", "ADM")
    ]
    text = words("docs/REPRODUCTION.md")
    for ratio in mini:
        assert f"a step of DPI takes {ratio:.1f} times as long at `scale=mini`" in text
    said = f"{min(drunet)} to {max(drunet)} (DRUNet) and {min(adm)} to {max(adm)} times (ADM)"
    assert f"and {said} at paper size on a GPU" in text
    page = words("docs/PERFORMANCE.md")
    assert f"On a GPU eight scalars in one batch cost {said} the step of the t map" in page
    assert f"it is {finest[0]} and {finest[1]} times" in page
    assert f"`trainer=ddp` on eight GPUs has it, costs {low:.0f} to {high:.0f} %" in page


def test_the_fidelity_metrics_agree_as_far_as_is_said():
    page, text = "results/fidelity_metrics.md", words("docs/EVALUATION.md")
    many, few = (
        (*column(page, "ours", row), *column(page, "scipy's sqrtm", row))
        for row in ("10,000 samples", "1,000 samples")
    )
    assert many[0] == many[1]
    digits = len(many[0]) - 1, int(-np.log10(abs(float(few[0]) / float(few[1]) - 1)))
    assert f"scipy's to {digits[0]} digits (of fewer samples than features to {digits[1]})" in text
    (difference,) = re.findall(r"largest difference over \d+ pairs of sets: (\S+)", words(page))
    assert float(difference) == 0 and "equal a brute-force search exactly" in text
    (seconds,) = re.findall(r"50,000 fakes, 10,000 real, .*: (\d+) s on 1 CPU thread", words(page))
    assert round(int(seconds) / 60) == 2
    assert "50,000 samples against 10,000 take two minutes on one CPU core" in text


def test_what_bfloat16_costs_is_made_from_its_rows():
    rows = pd.read_csv(ROOT / "results/precision.csv")
    mse = rows.set_index(["ends", "cond", "scalar", "precision"]).mse.unstack("precision")
    percent = 100 * (mse["bf16-mixed"] / mse["32-true"] - 1)
    page = (ROOT / "results/precision.md").read_text()
    for _, changes in percent.groupby(["ends", "cond"]):
        by_scalar = changes.droplevel(["ends", "cond"])
        shown = [by_scalar[by_scalar.index.isna()].iloc[0], *by_scalar[[0, 333, 666, 999]]]
        assert " | ".join(f"{change:+.2f}" for change in shown) in page
    text = words("docs/RELIABILITY.md")
    own, before = percent["float32"], percent["bfloat16"]
    means = own[own.index.get_level_values("scalar").isna()]
    assert f"by {means.min():.2f} to {means.max():.2f} % on average" in text
    most = own[["dpi", "tmap"]].abs().max()
    assert f"at most {most:.2f} % at t = 0, 333, 666 and 999 with DPI and the t map" in text
    assert f"with the σ map by {own['sigmamap', 999]:.1f} % at t = 999" in text
    assert f"Before the ends were kept in float32 that was {before['sigmamap', 999]:.0f} %" in text


@pytest.mark.parametrize("of", [".", "layers", "layers_film", "longer", "size32"])
def test_the_comparison_of_conditionings_is_made_from_its_rows(of):
    rows = f"results/conditioning/{of}/*.csv"
    command = [sys.executable, ROOT / "scripts/conditioning.py", rows]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    tables = [part.strip() for part in done.stdout.split("\n\n") if part.startswith("|")]
    page = (ROOT / "docs/CONDITIONING.md").read_text()
    assert tables
    for table in tables:
        assert table in page


def test_the_errors_at_steps_are_those_of_the_rows(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import read

    errors, _, _ = read(str(ROOT / "results/conditioning/*.csv"))
    assert at_steps(errors, "FiLM, include = *.conv1", "DPI") in words("docs/CONDITIONING.md")


def ratio(costs: pd.DataFrame, arch: str, row: str, other: str, metric: str) -> float:
    """What a row costs, over what another does."""
    return costs[metric][arch, row] / costs[metric][arch, other]


def test_the_costs_that_the_comparison_quotes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import read

    text = words("docs/CONDITIONING.md")
    costs = read(str(ROOT / "results/conditioning/*.csv"))[1]

    film, wide = (f"FiLM, {size}include = *.conv1" for size in ("", "channels = 23, 45, 91, 181, "))
    both, mlp = "low-rank sets + FiLM, cond.film.include = *.conv1", "MLP, base_channels = 40"
    times = [
        ratio(costs, "drunet", row, "t map", "training_step_s")
        for row in (film, "DPI", "low-rank sets", "FiLM")
    ]
    assert (
        f"{100 * ratio(costs, 'drunet', film, 'DPI', 'parameters'):.0f} % of DPI's parameters"
        in text
    )
    assert (
        f"takes {times[0]:.2f} times the t map's, where DPI's takes {times[1]:.2f} times and that "
        f"of low-rank sets {times[2]:.2f} times"
    ) in text
    assert f"FiLM of every layer takes {times[3]:.2f} times" in text
    more = [
        ratio(costs, "drunet", wide, "DPI", metric)
        for metric in ("training_gflops", "sampling_gflops")
    ]
    assert f"with {more[0]:.1f} times the GFLOPs in training, and twice those in sampling" in text
    assert round(more[1]) == 2
    less = [
        100 * ratio(costs, "drunet", both, wide, metric)
        for metric in ("parameters", "sampling_gflops")
    ]
    said = f"with {less[0]:.0f} % of its parameters and {less[1]:.0f} % of its GFLOPs in sampling"
    assert said in text
    longer = ratio(costs, "drunet", both, wide, "training_step_s")
    assert f"Their training step takes {longer:.2f} times as long" in text
    metrics = ("training_gflops", "sampling_gflops", "training_step_s")
    own = [ratio(costs, "adm", mlp, "DPI", metric) for metric in metrics]
    assert (
        f"with {own[0]:.1f} times the GFLOPs in training and {own[1]:.1f} times those in sampling; "
        f"a training step takes {own[2]:.2f} times as long"
    ) in text


def over(errors: pd.DataFrame, row: str, other: str) -> str:
    """By how many percent a row's mean error is above another's, seed by seed."""
    means = errors[errors.scalar.isna()].assign(column="", block="")
    runs = (means[means.row == name] for name in (row, other))
    found = compare(*runs).iloc[0]
    return f"{found.percent:+.1f} ± {found.half:.1f} %"


BEST = {
    "drunet": "DPI + FiLM, finest level, cond.film.include = *.conv1",
    "adm": "DPI + MLP, finest level",
}
"""What docs/CONDITIONING.md says to use."""


def test_the_answer(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    text = words("docs/CONDITIONING.md")
    errors, costs, _ = read(str(ROOT / "results/conditioning/*.csv"))
    means = errors[errors.scalar.isna() & (errors.protocol == "precondition = true")]
    best = {key: best_runs(of) for key, of in means.groupby(["arch", "framework"])}

    # None with as few parameters has as low an error, seed by seed.
    for (arch, framework), runs in best.items():
        size = 1.05 * costs.parameters[arch, BEST[arch]]
        own = runs[runs.row == BEST[arch]].set_index("seed").value
        assert len(own) >= 3, (arch, framework)
        for row, of in runs[runs.row != BEST[arch]].groupby("row"):
            if costs.parameters[arch, row] <= size:
                others = of.set_index("seed").value
                both = own.index.intersection(others.index)
                ours, theirs = (own, others) if both.empty else (own[both], others[both])
                assert ours.mean() < theirs.mean(), (arch, framework, row)

    more = [
        100 * (ratio(costs, arch, "DPI, finest level", "t map", "parameters") - 1) for arch in BEST
    ]
    assert f"are {more[0]:.0f} % more parameters on DRUNet and {more[1]:.0f} % on ADM" in text

    def below(arch: str, framework: str, other: str) -> str:
        found = over(best[arch, framework], BEST[arch], other)
        assert found.startswith("-")
        return found.removeprefix("-")

    film, wide = (f"FiLM, {size}include = *.conv1" for size in ("", "channels = 23, 45, 91, 181, "))
    parameters, time = (
        100 * ratio(costs, "drunet", BEST["drunet"], "DPI", metric)
        for metric in ("parameters", "training_step_s")
    )
    assert (
        f"its error is {below('drunet', 'diffusion', 'DPI')} below that of DPI of all layers in "
        f"diffusion, and {below('drunet', 'flow', 'DPI')} in flow matching, with "
        f"{parameters:.0f} % of its parameters and {time:.0f} % of its training step, and "
        f"{below('drunet', 'diffusion', film)} below that of FiLM alone"
    ) in text
    more = [
        ratio(costs, "drunet", wide, BEST["drunet"], metric)
        for metric in ("sampling_gflops", "training_step_s")
    ]
    level = over(best["drunet", "diffusion"], BEST["drunet"], wide)
    assert (
        f"is level with it in diffusion ({level}), and needs {more[0]:.1f} times the operations in "
        f"sampling and {more[1]:.1f} times the training step"
    ) in text
    parameters = 100 * ratio(costs, "adm", BEST["adm"], "DPI", "parameters")
    mlp = "MLP, base_channels = 40"
    assert (
        f"its error is {below('adm', 'diffusion', 'DPI')} below that of DPI of all layers in "
        f"diffusion, which is not significant, and {below('adm', 'flow', 'DPI')} in flow matching, "
        f"which is, with {parameters:.0f} % of its parameters, and "
        f"{below('adm', 'diffusion', mlp)} below that of the MLP of a network with as many "
        f"parameters as DPI, in flow matching {below('adm', 'flow', mlp)}."
    ) in text
    times = [
        ratio(costs, arch, row, "t map", "training_step_s")
        for arch, row in (*BEST.items(), ("drunet", film), ("drunet", "DPI, finest level"))
    ]
    assert (
        f"{times[0]:.2f} times the t map's training step on DRUNet and {times[1]:.2f} times on ADM"
    ) in text
    assert f"first convolutions, at {times[2]:.2f} times, and DPI of the finest level, at " in text
    assert f"{times[3]:.2f} times, are level with each other" in text
    at = {other: at_steps(errors, BEST["drunet"], other) for other in ("DPI", film)}
    assert f"over that of FiLM alone by {at[film]}, and over that of DPI by {at['DPI']}" in text


def at_steps(errors: pd.DataFrame, row: str, other: str) -> str:
    """By how many percent a row is above another at each step, in DRUNet's diffusion."""
    from conditioning import best_runs

    of = (errors.arch == "drunet") & (errors.framework == "diffusion")
    errors = errors[of & errors.row.isin([row, other]) & (errors.protocol == "precondition = true")]
    best = best_runs(errors[errors.scalar.isna()])
    own = errors[errors.scalar.notna()].merge(best[["row", "tuned", "seed"]])
    own = own.assign(column=own.scalar)
    found = compare(own[own.row == row], own[own.row == other]).set_index("column")
    shown = [
        f"{found.percent[t]:+.1f} ± {found.half[t]:.1f} % at t = {t}" for t in (0, 333, 666, 999)
    ]
    return f"{', '.join(shown[:3])} and {shown[3]}"


def test_the_layers_and_the_clipping_that_the_comparison_quotes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    text = words("docs/CONDITIONING.md")
    errors, costs, _ = read(str(ROOT / "results/conditioning/*.csv"))
    own = errors[errors.block.str.startswith("DRUNet, diffusion")]
    clips = own.block.str.contains("clip")
    means = own[~clips & own.scalar.isna()]
    best = best_runs(means)
    fine = "DPI, finest level"
    assert f"is that of DPI of all layers ({over(best, fine, 'DPI')}" in text
    both, wide = (
        "low-rank sets + FiLM, cond.film.include = *.conv1",
        "FiLM, channels = 23, 45, 91, 181, include = *.conv1",
    )
    wider = best[best.row == "DPI, channels = 23, 45, 91, 181, finest level"]
    one, two, three = wider.sort_values("seed").value
    assert f"it has errors of {one:.4f}, {two:.4f} and {three:.4f} with three seeds" in text
    runs = pd.concat([own[clips & (own.row == both)], best[best.row != both]])
    assert f"are level with FiLM of DPI's size** ({over(runs, both, wide)}" in text
    assert f"they are {over(runs, both, 'DPI')} from DPI" in text
    both = BEST["drunet"].replace("FiLM,", "FiLM, channels = 23, 45, 91, 181,")
    clipped = own[clips & own.scalar.isna() & (own.row == both)].set_index("seed").value
    runs = pd.concat([own[clips & (own.row == both)], best[best.row != both]])
    assert f"clipped**, are {over(runs, both, wide)} from FiLM of that network" in text
    assert f"on the seeds of both) and {over(runs, both, 'DPI')} from DPI" in text
    same = clipped == best[best.row == both].set_index("seed").value[clipped.index]
    assert list(same.index[~same]) == [2], "Clipping changes nothing with the other seeds"
    errors, costs, _ = read(str(ROOT / "results/conditioning/layers/*.csv"))
    means = errors[errors.scalar.isna()].set_index("row").value
    parameters, time = (costs.loc["drunet"][metric] for metric in ("parameters", "training_step_s"))
    more = 100 * (parameters[fine] / parameters["t map"] - 1)
    assert f"sampling: {more:.1f} % more parameters than the network has" in text
    said = [time[fine] / time[row] for row in ("DPI", "t map")]
    assert f"takes {said[0]:.2f} times as long, {said[1]:.2f} times the t map's" in text
    assert means["DPI, include = body.*"] > means["t map"]
    ends = "DPI, include = head.*, tail.*"
    below = 100 * (1 - means[ends] / means["t map"])
    assert f"by themselves {below:.1f} % below the t map" in text


def test_the_layers_with_film(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import read

    errors, _, _ = read(str(ROOT / "results/conditioning/layers_film/*.csv"))
    means = errors[errors.scalar.isna()].set_index("row").value

    def below(row: str) -> str:
        """FiLM alone."""
        (name,) = (name for name in means.index if name.startswith(f"DPI + FiLM, {row}"))
        return f"{100 * (1 - means[name] / means['FiLM, include = *.conv1']):.1f} %"

    text = words("docs/CONDITIONING.md")
    decoder, ends = (
        below(f"cond.dpi.include = network.{name}.*, network.tail.*")
        for name in ("decoder.2", "head")
    )
    assert (
        f"with sets of all of it the error is {below('finest level, cond.film.include = *.conv1')} "
        f"below that of FiLM alone, with sets of its decoder and the last layer {decoder}, of the "
        f"first and the last layer {ends}."
    ) in text
    coarse = below("finest level, cond.film.include = encoder.1")
    assert f"With FiLM of the coarser levels alone it is {coarse} below" in text
    every, body = below("cond.film.include"), below("cond.dpi.include = network.body.*")
    assert (
        f"with sets of all layers it is {every} below that of FiLM alone, at twice the parameters, "
        f"with sets of the lowest resolution {body}."
    ) in text


def test_the_longer_training(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    errors, _, _ = read(str(ROOT / "results/conditioning/longer/*.csv"))
    others = ("FiLM, include = *.conv1", "DPI, finest level", "low-rank sets")
    film, finest, low_rank = (over(errors, BEST["drunet"], other) for other in others)
    assert (
        f"their error is {film} from that of FiLM alone, {finest} from that of the finest level "
        f"alone and {low_rank} from that of low-rank sets."
    ) in words("docs/CONDITIONING.md")
    means = errors[errors.scalar.isna()]
    by_seed = means.pivot(index="seed", columns="row", values="value")
    assert (by_seed.idxmin(axis=1) == BEST["drunet"]).all(), "with each seed"
    short = read(str(ROOT / "results/conditioning/drunet_diffusion.csv"))[0]
    short = short[short.scalar.isna() & (short.protocol == "precondition = true")]
    after = [
        over(of, "t map", "DPI").partition(" ")[0].lstrip("+") for of in (errors, best_runs(short))
    ]
    assert (f"its error is {after[0]} % above DPI's, after 1,000 steps {after[1]} %.") in words(
        "docs/CONDITIONING.md"
    )


def test_weight_decay_of_the_coefficients_changes_nothing():
    rows = pd.read_csv(ROOT / "results/conditioning/weight_decay/drunet.csv")
    own = rows[(rows.metric == "mse") & rows.scalar.isna()]
    without = own.variant.str.contains("weight_decay_lambda = 0")
    assert (
        f"DPI's error with seed 0 is {own[~without].value.item():.5f} with it and "
        f"{own[without].value.item():.5f} without"
    ) in words("docs/CONDITIONING.md")


def test_the_finest_level_of_adm(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    text = words("docs/CONDITIONING.md")
    errors, costs, _ = read(str(ROOT / "results/conditioning/*.csv"))
    own = errors[errors.block.str.startswith("ADM, diffusion") & errors.scalar.isna()]
    best = best_runs(own)
    fine = "DPI, finest level"
    assert f"is level with DPI of all layers ({over(best, fine, 'DPI')})" in text
    found = [over(best, BEST["adm"], other) for other in ("DPI", fine, "MLP")]
    assert (
        f"of all layers ({found[0]}) and {found[1]} from the finest level alone; it is "
        f"{found[2]} from the MLP alone."
    ) in text
    mlp = "MLP, base_channels = 40"
    by_seed = best.pivot(index="seed", columns="row", values="value")[[fine, mlp]].dropna()
    assert len(by_seed) == 3 and (by_seed[fine] < by_seed[mlp]).all()
    more, less = (
        costs[metric]["adm", fine] / costs[metric]["adm", other]
        for metric, other in (("parameters", "t map"), ("training_step_s", "DPI"))
    )
    said = f"with {more:.2f} times the t map's parameters and {less:.2f} times the training step"
    assert said in text


def test_the_learning_rate_that_is_too_high_for_wide_networks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import read

    errors, _, _ = read(str(ROOT / "results/conditioning/drunet_diffusion.csv"))
    wide = errors[errors.scalar.isna() & errors.tuned.str.contains("lr = 0.002")].set_index("row")
    film, dpi = (
        wide.value[f"{name}, channels = 32, 64, 128, 256{of}"]
        for name, of in (("FiLM", ", include = *.conv1"), ("DPI", ""))
    )
    text = words("docs/CONDITIONING.md")
    assert f"FiLM and DPI of 32 to 256 channels end at {film:.2f} and {dpi:.2f}" in text


def test_the_other_widths(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import read

    errors, _, _ = read(str(ROOT / "results/conditioning/*.csv"))
    means = errors[errors.scalar.isna() & (errors.protocol == "precondition = true")]
    of = means.groupby(["arch", "framework"])
    text = words("docs/CONDITIONING.md")

    both, film, dpi, tmap = (
        "DPI + FiLM{}, finest level, cond.film.include = *.conv1", "FiLM{}, include = *.conv1",
        "DPI{}", "t map{}",
    )  # fmt: skip

    def at(arch: str, framework: str, row: str, size: str, lr: str = "") -> dict[int, float]:
        own = of.get_group((arch, framework))
        own = own[(own.row == row.format(f", {size}")) & own.tuned.str.contains(f"lr = {lr}")]
        return own.groupby("seed").value.min().to_dict()

    wide = [
        at("drunet", "diffusion", row, "channels = 32, 64, 128, 256", "0.001")
        for row in (both, film, dpi)
    ]
    assert [set(found) for found in wide] == [{1, 2}] * 3
    shown = [f"{found[1]:.4f} and {found[2]:.4f}" for found in wide]
    assert f"that were tried: {shown[0]}, FiLM {shown[1]}, DPI {shown[2]}." in text
    assert max(wide[0].values()) < min(*wide[1].values(), *wide[2].values())

    half = [
        at("drunet", "flow", row, "channels = 8, 16, 32, 64")[1] for row in (both, film, dpi, tmap)
    ]
    assert half == sorted(half)
    more = [at("drunet", "flow", row, "channels = 23, 45, 91, 181")[1] for row in (both, film)]
    assert f"in the wider one: {more[0]:.4f} with seed 1, FiLM {more[1]:.4f}." in text

    rows = ("DPI + MLP{}, finest level", "DPI{}", "MLP{}", "t map{}")
    small, medium = (
        [at("adm", "diffusion", row, f"base_channels = {width}")[4] for row in rows]
        for width in (16, 24)
    )
    assert medium == sorted(medium)
    assert small[1] < small[0] < small[2] < small[3]


def test_the_wider_film_in_flow_matching(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    errors, _, _ = read(str(ROOT / "results/conditioning/drunet_flow.csv"))
    own = errors[errors.scalar.isna() & errors.row.str.contains("181")].sort_values("seed")
    high, low = (own[own.tuned.str.endswith(lr)].value.tolist() for lr in ("0.002", "0.001"))
    text = words("docs/CONDITIONING.md")
    assert f"ended at {high[0]:.3f} and {high[1]:.3f} on the others" in text
    assert len(low) == 5 and max(low) < 0.25, "At 1e-3 it does not diverge"
    best = best_runs(errors[errors.scalar.isna()])
    assert f"The sets alone are {over(best, 'DPI, finest level', 'DPI')} from DPI of all" in text


def test_what_to_expect_is_made_from_the_logs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from what_to_expect import first_steps, read, table

    text = (ROOT / "docs/TRAINING.md").read_text()
    assert table(*read()) in text and first_steps(*read()) in text
    small = read()[1]["faces64-diffusion-drunet-dpi-small-seed0"]
    assert f"`val_loss` is still {small.val_loss[1000].max():.2f}" in " ".join(text.split())
    runs, logs = read()
    for run in runs.index[runs.scale == "mini"]:
        loss, val_loss = (logs[run][name].dropna() for name in ("loss", "val_loss"))
        assert (loss[[200, 300]] < val_loss[250]).all()  # it is above until step 500
    end = logs["demo"].val_loss.dropna()[2000]
    assert f"val_loss about {end:.3f} after 2,000 steps" in (ROOT / "Makefile").read_text()


def test_the_minutes_are_the_steps_times_those_of_the_performance(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from what_to_expect import read

    step = {
        cond: float(*column("docs/PERFORMANCE.md", "step, ms", row)) / 1000
        for cond, row in (("t map", "DRUNet, t map"), ("DPI", "DRUNet"))
    }
    said = f"{step['t map']:.3f} s with a t map and {step['DPI']:.3f} s with DPI"
    assert said in words("results/what_to_expect/README.md")
    runs, logs = read()
    for run, about in runs[runs.scale == "mini"].iterrows():
        assert about.minutes == round(logs[run].index.max() * step[about.conditioning] / 60), run
    for mistake in (
        "an option that does not exist: `arch=unet`",
        "a value out of range: `training.lr=-1`",
    ):
        assert round(float(*column("docs/PERFORMANCE.md", "seconds", mistake))) == 1
    assert "mistakes are reported in about a second" in words("docs/TRAINING.md")


def test_the_performance_says_what_its_tables_say():
    page = "docs/PERFORMANCE.md"
    text = words(page)

    def cell(title: str, row: str) -> float:
        return float(column(page, title, row)[0].rstrip(" %"))

    unets = [
        f"DPIR's UNetRes; ours {dropout}" for dropout in ("with dropout 0.1", "without dropout")
    ]
    with_dropout, without = (cell("ours over it", row) for row in unets)
    assert f"takes {100 * (with_dropout / without - 1):.0f} %: PyTorch draws its masks" in text
    last = [
        1 - cell("ours, channels last", row) / cell("ours over it", row)
        for row in (*unets, "guided-diffusion's UNetModel, with its embedding")
    ]
    assert f"| {100 * np.median(last):.0f} % without DPI on both networks (above) |" in text
    # Floats a doubled parameter: to interpolate, in its backward pass, by AdamW.
    parameters = 1_063_848
    assert f"that is {4 * (8 + 10 + 7) * parameters / 1e6:.0f} MB for DRUNet's" in text
    for network, size in ((n, s) for n in ("DRUNet", "ADM") for s in ("16x16", "32x32")):
        assert cell("bytes a doubled parameter", f"{network}, {size}") == 20
    assert "4 bytes each, and no gradient is" in text
    images = [32 * (cell("DPI", f"{network}, 16x16") - 1) for network in ("ADM", "DRUNet")]
    assert f"as long as {images[0]:.0f} (ADM) to {images[1]:.0f} images (DRUNet) at 16x16" in text
    for network in ("DRUNet", "ADM"):
        draw = cell("500 images at one scalar, ms", network)
        assert round(20 * 1000 * draw / 60_000) == cell("whole, minutes", network)
    (fastest,) = map(int, re.findall(r"runs at (\d+) GFLOP/s", text))
    whole = cell("whole, minutes", "DRUNet") * cell("GFLOP/s", "DRUNet") / fastest
    assert f"it would take {whole:.0f} minutes" in text
    share = max(cell("of it drawing noise", network) for network in ("DRUNet", "ADM"))
    assert f"Sharing the noise among the models of a sweep would save {share:.0f} %" in text


def test_how_much_longer_adm_takes():
    step, bare = (
        [float(*column("docs/PERFORMANCE.md", title, arch + of)) for arch in ("DRUNet", "ADM")]
        for title, of in (("step, ms", ""), ("bare, ms", ", 16x16"))
    )
    ratios = [adm / drunet for drunet, adm in (step, bare)]
    assert min(ratios) >= 3 and max(ratios) <= 4
    assert "ADM takes three to four times as long" in words("docs/TRAINING.md")


def test_how_long_the_initial_weights_last():
    lags = {}
    for scale in ("small", "paper"):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            lags[scale] = ema_lag(compose("train", [f"scale={scale}"]).training)
    assert (
        f"initial weights after {lags['small']:,} steps, and after {lags['paper']:,} with "
        "`scale=paper`"
    ) in words("docs/TRAINING.md")


def test_the_killed_sweep_had_the_same_rows():
    page = (ROOT / "results/sweeps.md").read_text()
    assert re.search(r"^    20 kills: ", page, re.M)
    assert "the same rows to the last bit: True" in page
    assert "A sweep killed twenty times" in words("docs/SWEEPS.md")
    assert "`python benchmarks/kills.py` kills a sweep twenty times" in words("docs/RELIABILITY.md")


def test_the_records_are_made_from_the_rows():
    command = [sys.executable, ROOT / "scripts/records.py", "results/conditioning/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "results/records.md").read_text()


def test_the_comparison_at_32x32(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    errors, _, _ = read(str(ROOT / "results/conditioning/size32/*.csv"))
    means = errors[errors.scalar.isna()]
    text = words("docs/CONDITIONING.md")
    best = best_runs(means)
    of = means.merge(best[["row", "tuned"]].drop_duplicates())  # seed 0, too
    by_seed = of.pivot(index="seed", columns="row", values="value")
    pair = by_seed.loc[[1, 2]]
    below = [
        100 * (1 - pair[row] / pair["t map"]).mean()
        for row in ("FiLM, include = *.conv1", "DPI, finest level")
    ]
    assert f"{below[0]:.0f}" == f"{below[1]:.0f}"
    assert f"are {below[0]:.0f} % below it with seeds 1 and 2" in text
    assert f"With seed 3 it ends at {by_seed['t map'][3]:.3f}" in text
    own = by_seed.pop(BEST["drunet"])
    others = by_seed.drop(columns="t map")
    assert f"with seeds 0 and 2 ({own[0]:.4f} and {own[2]:.4f})" in text
    assert (own[[0, 2]] < others.min(axis=1)[[0, 2]]).all()
    assert f"with seeds 1 and 3 ({own[1]:.4f} and {own[3]:.4f})" in text
    assert (own[[1, 3]] > others.max(axis=1)[[1, 3]]).all()


def test_the_steps_at_the_papers_size():
    of_drunet: dict[str, list[float]] = {}
    for head, cells in table_rows("results/gpu.md"):
        if head[2] == "ms" and cells[2] != "--:":
            # ADM's come later.
            of_drunet.setdefault(cells[1], [float(cell) for cell in cells[2:4]])
    names = ("t map", "FiLM of first convolutions", "DPI of the finest level, 8 scalars")
    names += ("the two together", "DPI, 8 scalars")
    tmap, film, finest, both, dpi = (of_drunet[name] for name in names)
    low_rank = of_drunet["low-rank sets, 8 scalars"][1]
    text = words("docs/CONDITIONING.md")
    assert (
        f"a step of the combination takes {both[1]} times the t map's on DRUNet, of FiLM of first "
        f"convolutions {film[1]} times, of DPI of the finest level {finest[1]} times, of DPI of "
        f"all layers {dpi[1]} times and of low-rank sets {low_rank} times"
    ) in text
    steps = [way[0] for way in (tmap, film, finest, both, dpi)]
    first = 3 * 20_000 * sum(steps) / 3.6e6
    hours = [3 * 100_000 * step / 3.6e6 for step in steps]
    assert (
        f"the first takes {first:.0f} hours on DRUNet, the second {hours[0]:.0f} hours with a t "
        f"map, {hours[1]:.0f} with FiLM, {hours[2]:.0f} with DPI of the finest level, "
        f"{hours[3]:.0f} with both and {hours[4]:.0f} with DPI of all layers"
    ) in text
    assert f"together, {2 * (first + sum(hours)) / 24:.0f} days" in text
