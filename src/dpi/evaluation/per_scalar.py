"""The training loss at every scalar, on held-out images; each value is kept once computed."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from dpi.data import to_unit
from dpi.errors import UserError
from dpi.frameworks import loss
from dpi.progress import Progress
from dpi.runs.run import Run

Unit = tuple[int, int]
"""A scalar and a noise seed: one error over all images."""


def scalar_errors(
    run: Run,
    fabric: Fabric,
    images: np.ndarray,
    noise_seeds: int,
    scalars: Sequence[int],
    batch_size: int,
    folder: Path,
) -> np.ndarray:
    """Mean squared error of g(x_s, s) against its target, per element.

    Noise is a function of the scalar, the noise seed and the image's position, and of nothing
    else: any two models see the same corrupted images. Each error is written to `folder` as soon
    as it is known, and what is there is not computed again.

    Args:
        run: the model.
        fabric: the processes and the device to use; each takes its share.
        images: (N, C, H, W) uint8.
        noise_seeds: J, draws of noise for every image at every scalar.
        scalars: steps in 0 ... S-1.
        batch_size: images at once; does not change the result but for rounding.
        folder: of these weights, images and precision.

    Returns:
        (len(scalars), J), float64, on every process.

    Raises:
        UserError: an error that is not finite.
    """
    units = [(s, j) for s in scalars for j in range(noise_seeds)]
    done = _read(folder)
    todo = [unit for unit in units if unit not in done]
    fabric.barrier()  # no process writes before all have read
    mine = todo[fabric.global_rank :: fabric.world_size]
    network = run.network.to(fabric.device)
    x = to_unit(torch.from_numpy(images).to(fabric.device))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"process{fabric.global_rank}.jsonl"
    _end_line(path)
    bar = Progress(
        total=len(units),
        initial=len(units) - len(todo),
        desc="Errors",
        unit="draw",
        disable=not fabric.is_global_zero,
    )
    with path.open("a") as file, torch.inference_mode(), bar:
        for (s, j), noise in _noises(mine, images.shape):
            total = 0.0
            for first in range(0, len(x), batch_size):
                batch = slice(first, first + batch_size)
                with fabric.autocast():
                    errors = loss(
                        network,
                        run.framework,
                        x[batch],
                        noise[batch].to(x.device),
                        torch.tensor(s),
                    )
                total += errors.double().sum().item()
            error = total / len(x)
            if not np.isfinite(error):
                raise UserError(
                    f"{run.folder}: the error at scalar {s} is {error}; its weights are not "
                    "usable, train it again with a lower training.lr"
                )
            file.write(f"{json.dumps([s, j, error])}\n")
            file.flush()
            bar.update(min(fabric.world_size, bar.total - bar.n))  # all processes progress alike
    fabric.barrier()
    done = _read(folder)
    return np.array([done[unit] for unit in units]).reshape(len(scalars), noise_seeds)


def _noises(units: list[Unit], shape: tuple[int, ...]) -> Iterator[tuple[Unit, Tensor]]:
    # Drawn ahead in a thread: NumPy's generators, the same everywhere, run on the CPU.
    def draw(unit: Unit) -> tuple[Unit, Tensor]:
        generator = np.random.default_rng(unit)
        return unit, torch.from_numpy(generator.standard_normal(shape, np.float32))

    with ThreadPoolExecutor(1) as pool:
        ahead = None
        for unit in [*units, None]:
            following = pool.submit(draw, unit) if unit else None
            if ahead:
                yield ahead.result()
            ahead = following


def _read(folder: Path) -> dict[Unit, float]:
    done = {}
    for path in sorted(folder.glob("process*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                s, j, error, *_ = json.loads(line)
            except (ValueError, TypeError):
                continue  # truncated by a kill
            done[s, j] = error
    return done


def _end_line(path: Path) -> None:
    # A truncated line must not swallow the next one.
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
