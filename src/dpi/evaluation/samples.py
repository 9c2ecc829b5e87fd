"""Many samples of a run, in files that an interruption leaves whole."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from dpi.evaluation.rows import Row
from dpi.figures import save_grid
from dpi.runs import Run
from dpi.sampling import GRID, draw, network_evaluations
from dpi.whole import write_whole

SHARD = 500
"""Pictures in a file."""


def samples(
    run: Run,
    fabric: Fabric,
    folder: Path,
    grid: int,
    seed: int,
    steps: int,
    solver: str | None,
    batch_size: int,
) -> list[Row]:
    """Figures 2 and 5: write a grid of a run's first samples, evaluation/samples.png.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        grid: pictures.
        seed, steps, solver, batch_size: see `draw_shards`.

    Returns:
        No rows: a picture is not a number.
    """
    solver = solver or run.framework.solvers[0]
    network_evaluations(run.framework, steps, solver)
    place = samples_folder(folder, fabric, seed, steps, solver)
    shards = draw_shards(run, fabric, place, grid, seed, steps, solver, batch_size)
    if fabric.is_global_zero:
        path = run.folder / "evaluation" / "samples.png"
        save_grid(shards[0][:grid], path)
        print(f"samples {path}")
    return []


def samples_folder(folder: Path, fabric: Fabric, seed: int, steps: int, solver: str) -> Path:
    """Where the samples drawn in this way are kept, in the folder of the evaluation."""
    return folder / f"samples-seed{seed}-{solver}{steps}-{fabric._precision.precision}"


class Shards(Sequence[np.ndarray]):
    """Samples 0 ... n-1 on disk, (SHARD, H, W, 3) uint8 a file, read when asked for."""

    def __init__(self, folder: Path, n: int) -> None:
        self.paths = [folder / f"{first:07d}.npy" for first in range(0, n, SHARD)]
        self.sizes = [min(SHARD, n - first) for first in range(0, n, SHARD)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> np.ndarray:
        return np.load(self.paths[i])[: self.sizes[i]]


def draw_shards(
    run: Run,
    fabric: Fabric,
    folder: Path,
    n: int,
    seed: int,
    steps: int,
    solver: str,
    batch_size: int,
) -> Shards:
    """Draw samples 0 ... n-1, or what is missing of them.

    Args:
        run: the model.
        fabric: the processes, each of which draws its shards.
        folder: belongs to these weights, seed, steps and solver; a grid of the first samples is
            written beside it.
        n, seed: sample i is the picture i that sample.py draws from this seed.
        steps, solver: see the framework's `sample`.
        batch_size: pictures at once; no part of the result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = run.network.to(fabric.device)
    size = run.cfg.image_size

    def predict(x: Tensor, s: Tensor) -> Tensor:
        with fabric.autocast():
            return network(x, s).float()

    shards = Shards(folder, n)
    mine = range(fabric.global_rank, len(shards), fabric.world_size)
    total = sum(shards.sizes[i] for i in mine)
    bar = tqdm(total=total, desc="Sampling", unit="picture", disable=not fabric.is_global_zero)
    with bar:
        for i in mine:
            path, first = shards.paths[i], i * SHARD
            there = shards[i] if path.exists() else np.empty((0, size, size, 3), np.uint8)
            bar.update(len(there))
            missing = range(first + len(there), first + shards.sizes[i])
            if not missing:
                continue
            parts = [there]
            for batch in draw(
                run.framework,
                predict,
                size,
                missing,
                seed,
                steps,
                solver,
                batch_size,
                fabric.device,
            ):
                parts.append(batch)
                bar.update(len(batch))
            file = io.BytesIO()
            np.save(file, np.concatenate(parts))
            write_whole(path, file.getvalue())
    fabric.barrier()
    if fabric.is_global_zero:
        save_grid(shards[0][:GRID], folder.with_name(f"{folder.name}.png"))
    return shards
