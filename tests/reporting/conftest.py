"""Folders of runs: configurations as train.py writes them, rows as evaluate.py does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from dpi.reporting.frame import label_runs, read_rows, read_runs, results
from dpi.reporting.paper import printed
from dpi.reporting.table import Table
from dpi.reporting.tables import tables

Rows = dict[str, list[dict[str, Any]]]
"""By evaluation."""

ARCHS = {
    "drunet": {"_target_": "dpi.architectures.DRUNet", "channels": [16, 32, 64, 128], "num_blocks": 2},
    "adm": {
        "_target_": "dpi.architectures.ADM",
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
    framework, arch, cond = kind
    settings = settings or {}
    config = {
        "seed": seed,
        "tag": settings.get("tag"),
        "names": {"data": "avatars", "framework": framework, "arch": arch, "cond": cond, "scale": scale},
        "settings": settings,
        "arch": ARCHS.get(arch, {"_target_": "mine.Network"}),
        "training": {"steps": steps, "batch_size": 32, "lr": 1e-3},
    }
    words = [f"{key.rpartition('.')[2]}_{value}" for key, value in settings.items()]
    folder = runs / "-".join(["avatars", *kind, scale, f"seed{seed}", *words])
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    header = {"run": folder.name, "step": steps, "finished": True, "weights": "0123abcd"} | header
    for name, of in (rows or {}).items():
        path = folder / "evaluation" / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*kept, *({"eval": name} | header | r for r in of)]))
    return folder


def papers_rows(framework: str, arch: str, cond: str, times: float = 1.0) -> Rows:
    """What the paper prints of a run, as rows, multiplied by a number."""
    kind = framework, arch, cond
    alike = {"pictures": 500, "noise_seeds": 20, "precision": "32-true"}
    rows: Rows = {}
    if kind in printed("table2"):
        errors = dict(printed("table2")[kind])
        over = row("mse", errors.pop("mean") * times, **alike, scalars=1000)
        at = [row("mse", error * times, int(t[1:]), **alike) for t, error in errors.items()]
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
            row("training_peak_mb", costs["memory"] * 1e9 / 2**20, device="a GPU"),
        ]
    if cond == "dpi":
        learned = printed("table5")[(arch, "λ learned")][framework] * times
        rows["objective"] = [row("objective", learned, **alike, scalars=1000)]
        rows["interpolation"] = [row("lambda", (s / 999) ** 2, s) for s in range(1000)]
    return rows


def save_samples(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((132, 132)).save(path)


def read(runs: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The labels and the results of a folder of runs."""
    found, _ = read_runs(runs)
    labels = label_runs(found)
    return labels, results(read_rows(found, labels))


def tables_of(runs: Path) -> dict[str, Table]:
    """All tables of a folder of runs, by name."""
    found, _ = read_runs(runs)
    return {table.spec.name: table for table in tables(found, *read(runs))}


@pytest.fixture
def runs(tmp_path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def make_run(runs) -> Callable[..., Path]:
    """write_run into the folder `runs`."""
    return lambda *args, **kwargs: write_run(runs, *args, **kwargs)


@pytest.fixture(scope="session")
def papers_runs(tmp_path_factory) -> Path:
    """All runs of the paper's tables with two seeds, whose means are the paper's numbers."""
    runs = tmp_path_factory.mktemp("paper") / "runs"
    for kind in printed("table3"):
        for seed, times in enumerate((0.999, 1.001)):
            folder = write_run(runs, kind, papers_rows(*kind, times), seed)
            save_samples(folder / "evaluation" / "samples.png", seed)
            status = {"step": 3000, "seconds": 60.0 * (seed + 1), "stage": None, "failed": None}
            (folder / "status.json").write_text(json.dumps(status))
            log = folder / "log" / "version_0" / "metrics.csv"
            log.parent.mkdir(parents=True)
            log.write_text("step,loss,val_loss\n" + "".join(f"{s},{9 / s},\n{s},,{8 / s}\n" for s in range(1, 400)))
    for (arch, name), numbers in printed("table5").items():
        if name == "λ(s) = s":
            for framework, number in numbers.items():
                for seed, times in enumerate((0.999, 1.001)):
                    rows = {"objective": [row("objective", number * times)]}
                    write_run(runs, (framework, arch, "dpi"), rows, seed, {"cond.schedule": "linear"})
    return runs
