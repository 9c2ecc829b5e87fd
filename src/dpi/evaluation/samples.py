"""Samples of a run: a grid to look at, and many of them in files that survive interruptions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor

from dpi.atomic import check_space
from dpi.data import read_npz, save_npz
from dpi.errors import UserError
from dpi.frameworks.draw import draw, network_evaluations, samples_size
from dpi.plots import save_grid
from dpi.precision import forbid_tf32
from dpi.progress import Progress
from dpi.runs.build import image_shape, set_memory_format
from dpi.runs.files import CHECKPOINT
from dpi.runs.rows import Row
from dpi.runs.run import Run, open_run

SHARD = 500
"""Samples in a file."""

GRID = 144
"""At most so many samples are drawn in a grid."""


def sample(cfg: DictConfig) -> None:
    """Draw samples from a run and write them, as a composed sample.yaml says.

    Raises:
        UserError: no such run, a damaged one, no such device or solver.
    """
    try:
        torch.zeros((), device=cfg.device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"device={cfg.device}: {str(error).splitlines()[0]}") from None
    forbid_tf32()
    run = open_run(cfg.run, cfg.trust, cfg.checkpoint)
    kept = run.checkpoint != CHECKPOINT
    if not run.finished and not kept:
        print(f"{run.folder} is not finished: step {run.step} of {run.cfg.training.steps}")
    solver = cfg.solver or run.framework.solvers[0]
    network_evaluations(run.framework, cfg.steps, solver)
    name = f"seed{cfg.seed}_{solver}{cfg.steps}_n{cfg.n}"
    if kept:
        name = f"{name}_{Path(run.checkpoint).stem}"
    out = Path(cfg.out or run.folder / "samples" / name)
    set_memory_format(run.network, torch.device(cfg.device))
    shape = image_shape(run.cfg)
    how = (run.framework, run.network.to(cfg.device), shape, range(cfg.n))
    try:
        samples = np.empty((cfg.n, *shape[1:], shape[0]), np.uint8)
    except MemoryError as error:
        raise UserError(f"n={cfg.n}: {error}; draw fewer at a time, with other seeds") from None
    with Progress(total=cfg.n, desc="Sampling", unit="sample") as bar:
        for batch in draw(*how, cfg.seed, cfg.steps, solver, cfg.batch_size, cfg.device):
            samples[bar.n : bar.n + len(batch)] = batch
            bar.update(len(batch))
    save_grid(samples[:GRID], out.with_name(f"{out.name}.png"))
    print(f"{min(cfg.n, GRID)} samples: {out}.png")
    if cfg.npz:
        save_npz(out.with_name(f"{out.name}.npz"), {"arr_0": samples})
        print(f"{cfg.n} samples: {out}.npz")


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
    """Figures 2 and 5: write a grid of a run's first samples, samples.png in `run.evaluation`.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        grid: samples.
        seed, steps, solver, batch_size: see `draw_shards`.

    Returns:
        No rows: an image is not a number.
    """
    shards = draw_shards(run, fabric, folder, grid, seed, steps, solver, batch_size)
    if fabric.is_global_zero:
        path = run.evaluation / "samples.png"
        save_grid(shards[0][:grid], path)
        print(f"samples {path}")
    return []


class Shards(Sequence[np.ndarray]):
    """Samples 0 ... n-1 on disk, (SHARD, H, W, C) uint8 a file, read when asked for.

    Files are .npz archives, which have a checksum.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.paths = [folder / f"{first:07d}.npz" for first in range(0, n, SHARD)]
        self.sizes = [min(SHARD, n - first) for first in range(0, n, SHARD)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> np.ndarray:
        return read_npz(self.paths[i], ["arr_0"])["arr_0"][: self.sizes[i]]

    def read(self, i: int) -> np.ndarray | None:
        """A file's samples, of which there may be too few; None if it is missing or damaged."""
        try:
            return self[i]
        except (UserError, KeyError):
            return None


def sample_settings(
    run: Run, fabric: Fabric, n: int, seed: int, steps: int, solver: str | None
) -> dict[str, Any]:
    """What the rows of samples say of how they were drawn, see `draw_shards`."""
    solver = solver or run.framework.solvers[0]
    return {
        "n": n,
        "seed": seed,
        "solver": solver,
        "steps": steps,
        "network_evaluations": network_evaluations(run.framework, steps, solver),
        "precision": fabric._precision.precision,
    }


def draw_shards(
    run: Run,
    fabric: Fabric,
    folder: Path,
    n: int,
    seed: int,
    steps: int,
    solver: str | None,
    batch_size: int,
) -> Shards:
    """Draw samples 0 ... n-1, or those of them that are missing.

    Args:
        run: the model.
        fabric: the processes, each of which draws its shards.
        folder: of the evaluation of these weights. Samples are kept in a folder of their seed,
            solver, steps and precision in it, a grid of the first ones beside it.
        n, seed: sample i is the sample i that sample.py draws from this seed.
        steps, solver: see the framework's `sample`; None for its default.
        batch_size: samples at once; does not change them but for rounding.

    Raises:
        UserError: the framework has no such solver, or it cannot take so many steps.
    """
    solver = solver or run.framework.solvers[0]
    network_evaluations(run.framework, steps, solver)
    shape = image_shape(run.cfg)
    check_space(folder, samples_size(n, shape), f"n={n}")
    folder = folder / f"samples-seed{seed}-{solver}{steps}-{fabric._precision.precision}"
    network = run.network.to(fabric.device)

    def predict(x: Tensor, s: Tensor) -> Tensor:
        with fabric.autocast():
            return network(x, s).float()

    def drawn(indices: range) -> Iterator[np.ndarray]:
        how = (seed, steps, solver, batch_size, fabric.device)
        return draw(run.framework, predict, shape, indices, *how)

    shards = Shards(folder, n)
    mine = range(fabric.global_rank, len(shards), fabric.world_size)
    total = sum(shards.sizes[i] for i in mine)
    bar = Progress(total=total, desc="Sampling", unit="sample", disable=not fabric.is_global_zero)
    with bar:
        for i in mine:
            path, first = shards.paths[i], i * SHARD
            known = shards.read(i)
            if known is None:
                known = np.empty((0, *shape[1:], shape[0]), np.uint8)
            bar.update(len(known))
            batches = [known]
            for batch in drawn(range(first + len(known), first + shards.sizes[i])):
                batches.append(batch)
                bar.update(len(batch))
            if len(batches) > 1:
                save_npz(path, {"arr_0": np.concatenate(batches)})
    fabric.barrier()
    if fabric.is_global_zero:
        save_grid(shards[0][:GRID], folder.with_name(f"{folder.name}.png"))
    return shards
