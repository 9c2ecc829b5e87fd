"""Folders of runs: configurations as train.py writes them, rows as evaluate.py does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from dpi.reporting.frame import joined, read_folder, results
from dpi.reporting.labels import labelled
from dpi.reporting.paper import specs
from dpi.reporting.tables import Table, tables
from dpi.runs.files import checkpoint_digest
from dpi.runs.record import RecordedSplit


def printed(table: str) -> dict[tuple[str | None, ...], dict[str, float | None]]:
    """The paper's numbers in one table: {(framework, network, row): {column: number}}."""
    columns = [key for key in specs()[table].columns if not key.startswith("paper ")]
    lines = specs()[table].paper
    return {tuple(row[:3]): dict(zip(columns, row[3:], strict=True)) for row in lines}


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
    known = {"run": folder.name, "step": steps, "finished": True, "weights": folder.name}
    for name, of in (rows or {}).items():
        path = folder / "evaluation" / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else []
        made = [{"eval": name} | known | header | r for r in of]
        path.write_text(json.dumps([*kept, *made]))
    return folder


MEASURED = {"pictures": 500, "noise_seeds": 20, "precision": "32-true"}
"""Settings of the errors that are the paper's."""


EVALS = {"table2": "denoising", "table3": "fidelity", "table4": "complexity"}


def papers_rows(framework: str, arch: str, cond: str, times: float = 1.0) -> Rows:
    """What the paper prints of a run, as rows, multiplied by a number."""
    rows: Rows = {}
    for table, name in EVALS.items():
        columns = specs()[table].columns
        for key, number in printed(table).get((framework, arch, cond), {}).items():
            if number is not None:
                value = number * times / columns[key].unit
                made = row(columns[key].metric, value, columns[key].scalar, **MEASURED)
                rows.setdefault(name, []).append(made)
    at = [of for of in rows.get("denoising", []) if of["scalar"] is not None]
    rows["denoising"] = rows.get("denoising", []) + [
        of | {"metric": "noise_scaled_mse"} for of in at
    ]
    if cond == "dpi":
        learned = printed("table5")[None, arch, "λ learned"][framework] * times
        rows["objective"] = [row("objective", learned, **MEASURED, scalars=1000)]
        rows["interpolation"] = [row("lambda", (s / 999) ** 2, s) for s in range(0, 1000, 9)]
    return rows


def write_log(folder: Path, version: int, losses: dict[int, tuple[float, float]]) -> None:
    """metrics.csv as Lightning writes it: loss and val_loss of a step in lines of their own."""
    path = folder / "log" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    lines = [f"{step},{loss},\n{step},,{val_loss}" for step, (loss, val_loss) in losses.items()]
    path.write_text("\n".join(["step,loss,val_loss", *lines, ""]))


def save_split(folder: Path, fingerprint: str, held_out: list[int]) -> None:
    split = RecordedSplit(fingerprint, 9, held_out, [])
    (folder / "split.json").write_text(json.dumps(asdict(split)))


def save_checkpoint(folder: Path) -> str:
    """The digest of a last checkpoint that is made."""
    with ZipFile(folder / "last.ckpt", "w") as file:
        file.writestr("archive/data/0", folder.name)
    return checkpoint_digest(folder / "last.ckpt")


def save_samples(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((132, 132)).save(path)


def rows_of(folder: Path) -> pd.DataFrame:
    """All rows of the runs in a folder."""
    damaged: dict[Path, str] = {}
    runs, rows = read_folder(folder, damaged)
    assert not damaged
    return joined(labelled(runs), rows)


def results_of(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs in a folder, and the rows that count."""
    return labelled(read_folder(folder, {})[0]), results(rows_of(folder))


def tables_of(folder: Path, paper: bool = True) -> dict[str, Table]:
    """All tables of a folder of runs, by name."""
    return {table.spec.name: table for table in tables(results_of(folder)[1], paper)}


def shown(table: Table, block: str, row: str) -> dict[str, tuple[str, str]]:
    """The cells of a row in print, (number, error) by column."""
    cells = table.cells[(table.cells.block == block) & (table.cells.row == row)]
    columns = table.spec.columns
    return {of.column: columns[of.column].show(of.value, of.error) for of in cells.itertuples()}
