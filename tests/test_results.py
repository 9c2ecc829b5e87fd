"""The committed tables are what their commands make of the committed rows."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpi.reporting import report
from dpi.reporting.pairs import compare

ROOT = Path(__file__).parents[1]


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


def pairs(path: str) -> dict[tuple[str, ...], tuple[float, float, float]]:
    """Of a committed pairs.md: percent and its interval, by block, metric and the other row."""
    found = {}
    for line in (ROOT / "results/reproduction" / path).read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 9 and cells[0].startswith("Table ") and " to " in cells[6]:
            key = cells[1], cells[2].partition(",")[0], cells[3].partition(" against ")[2]
            low, high = map(float, cells[6].split(" to "))
            found[key] = float(cells[5]), low, high
    return found


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


def test_what_bfloat16_costs_is_made_from_its_rows():
    rows = pd.read_csv(ROOT / "results/precision.csv")
    mse = rows.set_index(["ends", "cond", "scalar", "precision"]).mse.unstack("precision")
    percent = 100 * (mse["bf16-mixed"] / mse["32-true"] - 1)
    page = (ROOT / "results/precision.md").read_text()
    for _, changes in percent.groupby(["ends", "cond"]):
        by_scalar = changes.droplevel(["ends", "cond"])
        shown = [by_scalar[by_scalar.index.isna()].iloc[0], *by_scalar[[0, 333, 666, 999]]]
        assert " | ".join(f"{change:+.2f}" for change in shown) in page


def test_the_comparison_of_conditionings_is_made_from_its_rows():
    command = [sys.executable, ROOT / "scripts/conditioning.py", "results/conditioning/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    tables = [part.strip() for part in done.stdout.split("\n\n") if part.startswith("|")]
    page = (ROOT / "docs/CONDITIONING.md").read_text()
    assert tables
    for table in tables:
        assert table in page


def test_the_errors_at_steps_are_those_of_the_rows(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import best_runs, read

    errors, _, _ = read(str(ROOT / "results/conditioning/*.csv"))
    errors = errors[errors.block.str.startswith("DRUNet, diffusion")]
    errors = errors[errors.row.isin(["DPI", "FiLM, include = *.conv1"])]
    means = errors[errors.scalar.isna()]
    best = best_runs(means)
    own = errors[errors.scalar.notna()].merge(best[["row", "tuned", "seed"]])
    own = own.assign(column=own.scalar)
    found = compare(own[own.row != "DPI"], own[own.row == "DPI"]).set_index("column")
    text = " ".join((ROOT / "docs/CONDITIONING.md").read_text().split())
    shown = [
        f"{found.percent[t]:+.1f} ± {found.half[t]:.1f} % at t = {t}" for t in (0, 333, 666, 999)
    ]
    assert f"{', '.join(shown[:3])} and {shown[3]}" in text


def test_the_wider_film_in_flow_matching(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from conditioning import read

    errors, _, _ = read(str(ROOT / "results/conditioning/drunet_flow.csv"))
    own = errors[errors.scalar.isna() & errors.row.str.contains("181")].sort_values("seed")
    high, low = (own[own.tuned.str.endswith(lr)].value.tolist() for lr in ("0.002", "0.001"))
    text = " ".join((ROOT / "docs/CONDITIONING.md").read_text().split())
    assert f"ended at {high[0]:.3f} and {high[1]:.3f} on the others" in text
    assert f"its errors are {low[0]:.4f}, {low[1]:.4f} and {low[2]:.4f}, on average DPI's" in text
    dpi = errors[errors.scalar.isna() & (errors.row == "DPI")].value.mean()
    assert np.mean(low) == pytest.approx(dpi, rel=1e-3)


def test_what_to_expect_is_made_from_the_logs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from what_to_expect import first_steps, read, table

    text = (ROOT / "docs/TRAINING.md").read_text()
    assert table(*read()) in text and first_steps(*read()) in text
    small = read()[1]["faces64-diffusion-drunet-dpi-small-seed0"]
    assert f"`val_loss` is still {small.val_loss[1000].max():.2f}" in " ".join(text.split())


def test_the_records_are_made_from_the_rows():
    command = [sys.executable, ROOT / "scripts/records.py", "results/conditioning/*.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "results/records.md").read_text()


def test_the_held_out_losses_are_those_of_the_rows():
    rows = pd.read_csv(ROOT / "results/conditioning/held_out/losses.csv")
    small = rows[rows.scale == "small"].rename(columns={"cond": "row", "val_loss": "value"})
    text = " ".join((ROOT / "docs/CONDITIONING.md").read_text().split())
    film, tmap = (small[small.row == c].value.mean() for c in ("film", "tmap"))
    assert f"| {film:.4f} | {tmap:.4f} |" in text
    assert f"its loss is {100 * (1 - film / tmap):.0f} % below" in text
    dpi = small[small.row == "dpi"].set_index("seed")
    same = small[(small.row == "film") & (small.seed == 0)].value.item()
    assert (
        f"reached {dpi.value[0]:.4f} with seed 0, {100 * (1 - dpi.value[0] / same):.0f} %" in text
    )
    assert f"diverged at step {dpi.diverged_at[1]:.0f} with seed 1" in text
