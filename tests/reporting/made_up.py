"""Folders of runs: configurations as train.py writes them, rows as evaluate.py does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from dpi.reporting.frame import joined, read_folder, results
from dpi.reporting.labels import labelled
from dpi.reporting.paper import printed
from dpi.reporting.tables import Table, tables

Rows = dict[str, list[dict[str, Any]]]
"""By evaluation."""

ARCHS = {
    "drunet": {"channels": [16, 32, 64, 128], "num_blocks": 2},
    "adm": {
        "image_size": 16,
        "base_channels": 32,
        "channel_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [4],
        "head_channels": 16,
    },
}


def row(metric: str, value: float, scalar: int | None = None, **settings: Any) -> dict[str, Any]:
    return {
        "metric": metric,
        "value": value,
        "standard_error": None,
        "scalar": scalar,
        "settings": settings,
    }


def write_run(
    runs: Path,
    kind: tuple[str, str, str],
    rows: Rows | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    scale: str = "mini",
    steps: int = 3000,
    **header: Any,
) -> Path:
    """A run's folder; the rows' step, finished and weights may be others."""
    names = dict(zip(("framework", "arch", "cond"), kind, strict=True))
    settings = settings or {}
    config = {
        "seed": seed,
        "tag": settings.get("tag"),
        "names": {"data": "avatars", "scale": scale, **names},
        "settings": settings,
        "arch": ARCHS.get(names["arch"], {"_target_": "mine.Network"}),
        "training": {"steps": steps, "batch_size": 32, "lr": 1e-3},
    }
    suffix = [f"{key}_{value}" for key, value in settings.items()]
    folder = runs / "-".join(["avatars", *kind, scale, f"seed{seed}", *suffix])
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    header = {"run": folder.name, "step": steps, "finished": True, "weights": "0123abcd"} | header
    for name, of in (rows or {}).items():
        path = folder / "evaluation" / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else []
        made = [{"eval": name} | header | r for r in of]
        path.write_text(json.dumps([*kept, *made]))
    return folder


MEASURED = {"pictures": 500, "noise_seeds": 20, "precision": "32-true"}
"""Settings of the errors that are the paper's."""


def papers_rows(framework: str, arch: str, cond: str, times: float = 1.0) -> Rows:
    """What the paper prints of a run, as rows, multiplied by a number."""
    kind = framework, arch, cond
    rows: Rows = {}
    if kind in printed("table2"):
        errors = dict(printed("table2")[kind])
        over = row("mse", errors.pop("mean") * times, **MEASURED, scalars=1000)
        at = [row("mse", error * times, int(t[1:]), **MEASURED) for t, error in errors.items()]
        rows["denoising"] = [*at, over, *(r | {"metric": "noise_scaled_mse"} for r in at)]
    if kind in printed("table3"):
        solver = "DDIM" if framework == "diffusion" else "euler"
        scores = printed("table3")[kind]
        rows["fidelity"] = [row(k, v * times, n=50_000, solver=solver) for k, v in scores.items()]
    if kind in printed("table4"):
        costs = printed("table4")[kind]
        rows["complexity"] = [
            row("parameters", round(costs["parameters"] * 1e6)),
            row("gflops_paper", costs["gflops"]),
            row("gflops_true", costs["gflops"] + 1),
            row("training_peak_mib", costs["memory"] * 1e9 / 2**20, device="a GPU"),
        ]
    if cond == "dpi":
        learned = printed("table5")[None, arch, "λ learned"][framework] * times
        rows["objective"] = [row("objective", learned, **MEASURED, scalars=1000)]
        rows["interpolation"] = [row("lambda", (s / 999) ** 2, s) for s in range(1000)]
    return rows


def write_log(folder: Path, version: int, losses: dict[int, tuple[float, float]]) -> None:
    """metrics.csv as Lightning writes it: loss and val_loss of a step in lines of their own."""
    path = folder / "log" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    lines = [f"{step},{loss},\n{step},,{val_loss}" for step, (loss, val_loss) in losses.items()]
    path.write_text("\n".join(["step,loss,val_loss", *lines, ""]))


def save_samples(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((132, 132)).save(path)


def results_of(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs in a folder, and the rows that count."""
    damaged: dict[Path, str] = {}
    runs, rows = read_folder(folder, damaged)
    assert not damaged
    runs = labelled(runs)
    return runs, results(joined(runs, rows))


def tables_of(folder: Path, paper: bool = True) -> dict[str, Table]:
    """All tables of a folder of runs, by name."""
    return {table.spec.name: table for table in tables(results_of(folder)[1], paper)}


def shown(table: Table, block: str, row: str) -> dict[str, tuple[str, str]]:
    """The cells of a row in print, (number, error) by column."""
    cells = table.cells[(table.cells.block == block) & (table.cells.row == row)]
    columns = table.spec.columns
    return {of.column: columns[of.column].show(of.value, of.error) for of in cells.itertuples()}
