"""Samples of a run: a grid to look at, and many of them in files that survive interruptions."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from torch import Tensor

from dpi.data import kept_npz, read_npz, save_npz
from dpi.errors import UserError
from dpi.frameworks.draw import draw, network_evaluations
from dpi.plots import save_grid, save_image
from dpi.precision import forbid_tf32
from dpi.progress import Progress
from dpi.runs.build import image_shape, set_memory_format
from dpi.runs.check import Count, Seed, SolverSteps
from dpi.runs.files import CHECKPOINT, is_shared
from dpi.runs.rows import Row
from dpi.runs.run import Run, open_run

if TYPE_CHECKING:  # Lightning takes seconds, and sample.py needs none of it
    from lightning.fabric import Fabric

SHARD = 500
"""Samples in a file."""

GRID = 144
"""At most so many samples are drawn in a grid."""


def sample(cfg: DictConfig) -> None:
    """Draw samples from a run and write them, as a composed sample.yaml says.

    Raises:
        UserError: no such run or model, a damaged one, no such device or solver.
    """
    try:
        torch.zeros((), device=cfg.device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"device={cfg.device}: {str(error).splitlines()[0]}") from None
    forbid_tf32()
    run = _open(cfg)
    kept = run.checkpoint != CHECKPOINT
    if not kept and not run.finished:
        print(f"{run.folder} is not finished: step {run.step} of {run.cfg.training.steps}")
    solver = cfg.solver or run.framework.solvers[0]
    network_evaluations(run.framework, cfg.steps, solver)
    name = f"seed{cfg.seed}_{solver}{cfg.steps}_n{cfg.n}"
    if kept:
        name = f"{name}_{Path(run.checkpoint).stem}"
    given = cfg.out and cfg.out.removesuffix(".png").removesuffix(".npz")
    out = Path(given or run.folder / "samples" / name)
    set_memory_format(run.network, torch.device(cfg.device))
    folder = out.with_name(f"{out.name}-png")
    of_ours = (path.stem.isdecimal() and int(path.stem) < cfg.n for path in folder.glob("*.png"))
    if cfg.png and not all(of_ours):
        raise UserError(f"{folder} holds other images: delete it, or give another out=")
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
    if cfg.png:
        for i, pixels in enumerate(samples):
            save_image(pixels, folder / f"{i:06d}.png")
        print(f"{cfg.n} samples: {out}-png/*.png")


def _open(cfg: DictConfig) -> Run:
    folder = Path(cfg.run)
    if not is_shared(folder):
        return open_run(folder, cfg.trust, cfg.checkpoint)
    from dpi.hub import WEIGHTS, SharedModel  # takes a second

    if cfg.checkpoint not in (CHECKPOINT, WEIGHTS):
        raise UserError(
            f"checkpoint={cfg.checkpoint}: {folder} holds {WEIGHTS} alone; leave it out"
        )
    model = SharedModel.from_pretrained(folder)
    of = OmegaConf.create(model.model)
    return Run(folder, of, model.framework, model.network, step=0, checkpoint=WEIGHTS)


def samples(
    run: Run,
    fabric: "Fabric",
    folder: Path,
    grid: Annotated[int, Field(ge=1, le=SHARD)],
    seed: Seed,
    steps: SolverSteps,
    solver: str | None,
    batch_size: Count,
) -> list[Row]:
    """Figures 2 and 5: write a grid of a run's first samples, samples.png in `run.evaluation`.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        grid: samples.
        seed, steps, solver, batch_size: see `draw_shards`.

    Returns:
        No rows: an image is not a number.
    """
    images, _ = draw_shards(run, fabric, folder, grid, seed, steps, solver, batch_size)
    if fabric.is_global_zero:
        path = run.evaluation / "samples.png"
        save_grid(next(images), path)
        print(f"samples {path}")
    return []


def draw_shards(
    run: Run,
    fabric: "Fabric",
    folder: Path,
    n: int,
    seed: int,
    steps: int,
    solver: str | None,
    batch_size: int,
) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Draw samples 0 ... n-1, SHARD in a file; a file that is there, and holds enough, is kept.

    Args:
        run: the model.
        fabric: the processes, each of which draws its shards.
        folder: of the evaluation of these weights. Samples are kept in a folder of their seed,
            solver, steps and precision in it, a grid of the first ones beside it.
        n, seed: sample i is the sample i that sample.py draws from this seed.
        steps, solver: see the framework's `sample`; None for its default.
        batch_size: samples at once; does not change them but for rounding.

    Returns:
        The samples, (SHARD, H, W, C) uint8 at a time, read as they are asked for; and what rows
        say of how they were drawn.
    """
    solver = solver or run.framework.solvers[0]
    precision = fabric.strategy.precision.precision
    shape = image_shape(run.cfg)
    folder = folder / f"samples-seed{seed}-{solver}{steps}-{precision}"
    network = run.network.to(fabric.device)

    def predict(x: Tensor, s: Tensor) -> Tensor:
        with fabric.autocast():
            return network(x, s).float()

    paths = [folder / f"{first:07d}.npz" for first in range(0, n, SHARD)]
    bar = Progress(total=n, desc="Sampling", unit="sample", disable=not fabric.is_global_zero)
    with bar:
        for i, path in enumerate(paths):
            indices = range(i * SHARD, min(n, (i + 1) * SHARD))
            kept = kept_npz(path, ["arr_0"]).get("arr_0", ())
            if i % fabric.world_size != fabric.global_rank or len(kept) >= len(indices):
                bar.update(len(indices))
                continue
            batches = []
            how = (seed, steps, solver, batch_size, fabric.device)
            for batch in draw(run.framework, predict, shape, indices, *how):
                batches.append(batch)
                bar.update(len(batch))
            save_npz(path, {"arr_0": np.concatenate(batches)})
    fabric.barrier()
    settings = {"n": n, "seed": seed, "solver": solver, "steps": steps, "precision": precision}
    settings["network_evaluations"] = network_evaluations(run.framework, steps, solver)
    if fabric.is_global_zero:
        first = read_npz(paths[0], ["arr_0"])["arr_0"]
        save_grid(first[: min(n, GRID)], folder.with_name(f"{folder.name}.png"))
    # A file may hold more than are asked for.
    shards = (read_npz(path, ["arr_0"])["arr_0"][: n - i * SHARD] for i, path in enumerate(paths))
    return shards, settings
