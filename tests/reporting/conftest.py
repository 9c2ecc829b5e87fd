"""Folders of runs: configurations as train.py writes them, rows as evaluate.py does."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dpi.configuration import register_resolvers
from dpi.evaluation.rows import Row, write_rows
from dpi.figures import save_grid
from dpi.reporting.paper import printed

CONFIGS = Path(__file__).parents[2] / "configs"

Rows = dict[str, list[Row]]
"""By evaluation."""


@cache
def _config(framework: str, arch: str, cond: str, scale: str) -> dict:
    register_resolvers()
    kind = {"framework": framework, "arch": arch, "cond": cond, "scale": scale}
    words = [f"{key}={word}" for key, word in kind.items()]
    words += [f"names.{key}={word}" for key, word in kind.items()]
    words += ["data=avatars", "names.data=avatars", "names.variant=''", "run=none"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_container(compose("train", words), resolve=True)


def write_run(
    runs: Path,
    kind: tuple[str, str, str],
    rows: Rows,
    seed: int = 0,
    variant: str = "",
    scale: str = "mini",
    **header: object,
) -> Path:
    """A run's folder; the header's step, finished and weights may be others."""
    cfg = OmegaConf.create(_config(*kind, scale))
    cfg.seed, cfg.names.variant = seed, variant
    words = ["avatars", *kind, scale, f"seed{seed}", *([variant] if variant else [])]
    folder = runs / "-".join(words)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, folder / "config.yaml")
    header = {"run": folder.name, "step": 3000, "finished": True, "weights": "0123abcd"} | header
    for name, of in rows.items():
        write_rows(folder / "evaluation" / f"{name}.json", {"eval": name} | header, of)
    return folder


def papers_rows(framework: str, arch: str, cond: str, times: float = 1.0) -> Rows:
    """What the paper prints of a run, as rows, multiplied by a number."""
    kind = framework, arch, cond
    alike = {"pictures": 500, "noise_seeds": 20, "precision": "32-true"}
    rows: Rows = {}
    if kind in printed("table2"):
        errors = dict(printed("table2")[kind])
        over = Row("mse", errors.pop("mean") * times, settings=alike | {"scalars": 1000})
        at = [Row("mse", e * times, scalar=int(t[1:]), settings=alike) for t, e in errors.items()]
        scaled = [Row("noise_scaled_mse", r.value, scalar=r.scalar, settings=alike) for r in at]
        rows["denoising"] = [*at, over, *scaled]
    if kind in printed("table3"):
        settings = {"n": 50_000, "solver": "DDIM" if framework == "diffusion" else "euler"}
        scores = printed("table3")[kind]
        rows["fidelity"] = [Row(k, v * times, settings=settings) for k, v in scores.items()]
    if kind in printed("table4"):
        costs = printed("table4")[kind]
        rows["complexity"] = [
            Row("parameters", round(costs["parameters"] * 1e6)),
            Row("gflops_paper", costs["gflops"]),
            Row("gflops_true", costs["gflops"] + 1),
            Row("training_peak_mb", costs["memory"] * 1e9 / 2**20, settings={"device": "a GPU"}),
        ]
    if cond == "dpi":
        learned = printed("table5")[(framework, arch)]["learned"] * times
        rows["objective"] = [Row("objective", learned, settings=alike | {"scalars": 1000})]
        rows["interpolation"] = [Row("lambda", s / 999, scalar=s) for s in range(1000)]
    return rows


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Path]:
    """write_run into tmp_path/runs."""
    return lambda *args, **kwargs: write_run(tmp_path / "runs", *args, **kwargs)


@pytest.fixture(scope="session")
def papers_runs(tmp_path_factory) -> Path:
    """All runs of the paper's tables with two seeds, whose means are the paper's numbers."""
    runs = tmp_path_factory.mktemp("paper") / "runs"
    for kind in printed("table3"):
        for seed, times in enumerate((0.999, 1.001)):
            folder = write_run(runs, kind, papers_rows(*kind, times), seed)
            pictures = np.random.default_rng(seed).integers(0, 256, (4, 8, 8, 3), np.uint8)
            save_grid(pictures, folder / "evaluation" / "samples.png")
    for (framework, arch), numbers in printed("table5").items():
        for seed, times in enumerate((0.999, 1.001)):
            rows = {"objective": [Row("objective", numbers["linear"] * times)]}
            write_run(runs, (framework, arch, "dpi"), rows, seed, "schedule_linear")
    write_run(runs, ("diffusion", "adm", "dpi"), {"objective": rows["objective"]}, 0, "mine")
    return runs
