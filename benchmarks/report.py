"""How long a report of 100 runs takes, from the command to the page.

    python benchmarks/report.py [FOLDER]

The runs are made up, with the paper's numbers, a little different for each seed: three seeds of
every row of Table 3 with all evaluations, then a linear lambda, then an ablation of the scalars per
step. They are kept in FOLDER if it is given.
"""

import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from dpi.reporting.paper import printed

ROOT = Path(__file__).parents[1]
RUNS, SEEDS, SCALARS, STEPS = 100, 3, 1000, 3000
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

Kind = tuple[str, str, str]
Rows = dict[str, list[dict[str, Any]]]


def row(metric: str, value: float, scalar: int | None = None, **settings: Any) -> dict[str, Any]:
    number = {"metric": metric, "value": float(value), "standard_error": None, "scalar": scalar}
    return number | {"settings": settings}


def plain_rows(kind: Kind, rng: np.random.Generator) -> Rows:
    """All evaluations of a run of the paper."""
    framework, arch, cond = kind
    times = rng.normal(1, 0.003)
    alike = {"pictures": 500, "noise_seeds": 20, "precision": "32-true"}
    fidelity = printed("table3")[kind].items()
    rows = {"fidelity": [row(key, value * times, n=50_000, seed=0) for key, value in fidelity]}
    if errors := printed("table2").get(kind):
        known = np.log([errors[f"t{t}"] * times for t in (0, 333, 666, 999)])
        curve = np.exp(np.interp(np.arange(SCALARS), (0, 333, 666, 999), known))
        rows["denoising"] = [row("mse", errors["mean"] * times, **alike, scalars=SCALARS)]
        for metric in ("mse", "noise_scaled_mse"):
            rows["denoising"] += [row(metric, v, t, **alike) for t, v in enumerate(curve)]
    if costs := printed("table4").get(kind):
        rows["complexity"] = [
            row("parameters", costs["parameters"] * 1e6),
            row("gflops_paper", costs["gflops"]),
            row("training_peak_mib", costs["memory"] * 1e9 / 2**20, device="made up"),
        ]
    if cond == "dpi":
        curve = np.linspace(0, 1, SCALARS) ** rng.normal(
            0.6 if framework == "diffusion" else 1.7, 0.05
        )
        rows["interpolation"] = [row("lambda", value, s) for s, value in enumerate(curve)]
        rows["objective"] = objective(printed("table5")[None, arch, "λ learned"][framework] * times)
    return rows


def objective(value: float) -> list[dict[str, Any]]:
    return [row("objective", value, pictures=500, noise_seeds=20, scalars=SCALARS)]


def write_run(
    runs: Path,
    kind: Kind,
    seed: int,
    settings: dict[str, Any],
    rows: Rows,
    rng: np.random.Generator,
) -> None:
    """A run's folder, with logs and samples of its training."""
    names = dict(zip(("framework", "arch", "cond"), kind, strict=True))
    config = {
        "seed": seed,
        "tag": None,
        "names": {"data": "avatars", **names, "scale": "mini"},
        "settings": settings,
        "arch": ARCHS[kind[1]],
        "training": {"steps": STEPS, "batch_size": 32, "lr": 1e-3, "distinct_scalars": 8},
    }
    parts = ["avatars", *kind, "mini", f"seed{seed}", *(f"{k}_{v}" for k, v in settings.items())]
    folder = runs / "-".join(parts)
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    status = {"step": STEPS, "seconds": rng.uniform(200, 900), "stage": None, "failed": None}
    (folder / "status.json").write_text(json.dumps(status))
    header = {"run": folder.name, "step": STEPS, "finished": True, "weights": "0123abcd"}
    for name, of in rows.items():
        lines = [{"eval": name} | header | row for row in of]
        (folder / "evaluation" / f"{name}.json").write_text(json.dumps(lines))
    steps = np.arange(20, STEPS + 1, 20)
    losses = 0.05 + 2 / np.sqrt(steps) * rng.normal(1, 0.1, len(steps))
    log = [
        f"{s},{loss},{loss if s % 500 == 0 else ''}" for s, loss in zip(steps, losses, strict=True)
    ]
    (folder / "log" / "version_0").mkdir(parents=True)
    text = "\n".join(["step,loss,val_loss", *log])
    (folder / "log" / "version_0" / "metrics.csv").write_text(f"{text}\n")
    grid = Image.fromarray(rng.integers(0, 256, (30, 30, 3), np.uint8)).resize((396, 396))
    place = "evaluation/samples.png" if "fidelity" in rows else f"samples/step_{STEPS:07d}.png"
    (folder / place).parent.mkdir(exist_ok=True)
    grid.save(folder / place)


def write_runs(runs: Path) -> int:
    """The folder of runs; returns how many."""
    rng = np.random.default_rng(0)
    made = [
        (kind, seed, {}, plain_rows(kind, rng))
        for kind in printed("table3")
        for seed in range(SEEDS)
    ]
    for framework, arch, seed in product(("diffusion", "flow"), ("drunet", "adm"), range(SEEDS)):
        value = printed("table5")[None, arch, "λ(s) = s"][framework] * rng.normal(1, 0.003)
        linear = {"cond.schedule": "linear"}
        made.append(((framework, arch, "dpi"), seed, linear, {"objective": objective(value)}))
    for scalars, cond, seed in product(range(1, RUNS), ("tmap", "dpi"), range(SEEDS)):
        if len(made) == RUNS:
            break
        value = 1.8e-2 * (1 + 1 / scalars) * rng.normal(1, 0.003)
        settings = {"training.distinct_scalars": scalars}
        rows = {"objective": objective(value)}
        made.append((("diffusion", "adm", cond), seed, settings, rows))
    for kind, seed, settings, rows in made:
        write_run(runs, kind, seed, settings, rows, rng)
    return len(made)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        made = write_runs(folder / "runs")
        command = [sys.executable, "report.py", f"runs={folder}/runs", f"out={folder}/report"]
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            size = (folder / "report" / "avatars-mini" / "index.html").stat().st_size / 2**20
            print(f"{made} runs: {seconds:.1f} s to a page of {size:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
