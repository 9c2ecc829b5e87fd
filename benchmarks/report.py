"""How long a report of 100 runs takes, from the command to a page that can be opened.

    python benchmarks/report.py

The tree of runs is made up: real configurations and rows of the real schema, with the paper's
numbers a little shaken. 27 runs have the error at all 1,000 steps, 12 have lambda, 20 have samples.
"""

import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from hydra import compose, initialize
from omegaconf import DictConfig, OmegaConf

from dpi.configuration import register_resolvers
from dpi.evaluation.rows import Row, write_rows
from dpi.figures import save_grid
from dpi.reporting.paper import printed

ROOT = Path(__file__).parents[1]
SEEDS = 3
STEPS = 1000
RUNS = 100


def config(framework: str, arch: str, cond: str, variant: str) -> DictConfig:
    """As train.py would write it, at mini scale."""
    register_resolvers()
    kind = {"framework": framework, "arch": arch, "cond": cond, "scale": "mini"}
    words = [f"{key}={value}" for key, value in kind.items()]
    words += [f"names.{key}={value}" for key, value in kind.items()]
    words += ["data=avatars", "names.data=avatars", f"names.variant='{variant}'", "run=none"]
    with initialize(config_path="../configs", version_base="1.3"):
        cfg = compose("train", words)
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


def write(runs: Path, cfg: DictConfig, seed: int, rows: dict[str, list[Row]], grid: bool) -> None:
    """A run's folder."""
    n = cfg.names
    words = (n.data, n.framework, n.arch, n.cond, n.scale, f"seed{seed}", n.variant)
    folder = runs / "-".join(filter(None, words))
    folder.mkdir(parents=True)
    cfg.seed = seed
    OmegaConf.save(cfg, folder / "config.yaml")
    header = {"run": folder.name, "step": 3000, "finished": True, "weights": "0123abcd"}
    for name, of in rows.items():
        write_rows(folder / "evaluation" / f"{name}.json", {"eval": name} | header, of)
    if grid:
        pictures = np.random.default_rng(seed).integers(0, 256, (36, 16, 16, 3), np.uint8)
        save_grid(pictures, folder / "evaluation" / "samples.png")


def rows(rng: np.random.Generator, framework: str, arch: str, cond: str) -> dict[str, list[Row]]:
    """All that the tables and figures take of a plain run."""

    def shaken(value: float) -> float:
        return float(value * rng.normal(1, 0.01))

    alike = {"pictures": 500, "noise_seeds": 20, "precision": "32-true"}
    made = {}
    errors = printed("table2").get((framework, arch, cond))
    if errors:
        known = [errors[f"t{t}"] for t in (0, 333, 666, 999)]
        curve = np.exp(np.interp(np.arange(STEPS), (0, 333, 666, 999), np.log(known)))
        mse = [Row("mse", shaken(v), v / 100, t, alike) for t, v in enumerate(curve)]
        scaled = [Row("noise_scaled_mse", r.value, r.value / 100, r.scalar, alike) for r in mse]
        over = Row("mse", shaken(errors["mean"]), 1e-5, None, alike | {"scalars": STEPS})
        made["denoising"] = [*mse, over, *scaled]
    fidelity = printed("table3").get((framework, arch, cond), {})
    settings = {"n": 50_000, "seed": 0, "steps": 200}
    made["fidelity"] = [Row(k, shaken(v), settings=settings) for k, v in fidelity.items()]
    if cond == "dpi":
        ends = rng.uniform(0.5, 2)
        points = enumerate(np.linspace(0, 1, STEPS) ** ends)
        made["interpolation"] = [Row("lambda", float(v), scalar=s) for s, v in points]
        made |= _objective(rng, printed("table5")[(framework, arch)]["learned"])
    costs = printed("table4").get((framework, arch, cond))
    if costs:
        made["complexity"] = [
            Row("parameters", round(costs["parameters"] * 1e6)),
            Row("gflops_paper", costs["gflops"]),
            Row("gflops_true", costs["gflops"]),
            Row("training_peak_mb", costs["memory"] * 1e9 / 2**20, settings={"device": "made up"}),
        ]
    return made


def make_runs(runs: Path) -> int:
    """A tree of runs; returns how many."""
    rng = np.random.default_rng(0)
    made = 0
    for kind, seed in product(printed("table3"), range(SEEDS)):
        cfg = config(*kind, "")
        write(runs, cfg, seed, rows(rng, *kind), grid=made % 2 == 0 and made < 40)
        made += 1
    for framework, arch in product(("diffusion", "flow"), ("drunet", "adm")):
        objective = printed("table5")[(framework, arch)]["linear"]
        cfg = config(framework, arch, "dpi", "schedule_linear")
        for seed in range(SEEDS):
            write(runs, cfg, seed, _objective(rng, objective), grid=False)
            made += 1
    cfg = config("diffusion", "adm", "dpi", "")
    for i in range(RUNS - made):
        cfg.names.variant = f"distinct_scalars_{i // SEEDS + 1}"
        write(runs, cfg, i % SEEDS, _objective(rng, 1.8e-2), grid=False)
        made += 1
    return made


def _objective(rng: np.random.Generator, value: float) -> dict[str, list[Row]]:
    return {"objective": [Row("objective", float(value * rng.normal(1, 0.01)))]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        made = make_runs(runs)
        command = [sys.executable, "report.py", f"runs={runs}", f"out={folder}/report"]
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            size = (Path(folder) / "report" / "avatars-mini" / "index.html").stat().st_size / 2**20
            print(f"{made} runs: {seconds:.1f} s to a page of {size:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
