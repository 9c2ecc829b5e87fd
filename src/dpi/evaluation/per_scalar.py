"""The training loss at every scalar, on held-out images; each value is kept once computed."""

import json
from collections import deque
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
    how = {"desc": "Errors", "unit": "draw", "disable": not fabric.is_global_zero}
    bar = Progress(total=len(units), initial=len(units) - len(todo), **how)
    with path.open("a") as file, torch.inference_mode(), bar:
        for (s, j), noise in _noises(mine, images.shape):
            total = 0.0
            for first in range(0, len(x), batch_size):
                batch = slice(first, first + batch_size)
                corrupting = noise[batch].to(x.device)
                with fabric.autocast():
                    errors = loss(network, run.framework, x[batch], corrupting, torch.tensor(s))
                total += errors.double().sum().item()
            error = total / len(x)
            if not np.isfinite(error):
                raise UserError(
                    f"{run.folder}: the error at scalar {s} is {error}; its weights are not "
                    "usable, train it again with a lower training.lr"
                )
            # A newline before it also ends a line that a kill truncated.
            file.write("\n" * (file.tell() > 0) + json.dumps([s, j, error]))
            file.flush()
            bar.update(min(fabric.world_size, bar.total - bar.n))  # all processes progress alike
    fabric.barrier()
    done = _read(folder)
    return np.array([done[unit] for unit in units]).reshape(len(scalars), noise_seeds)


def _noises(units: list[Unit], shape: tuple[int, ...]) -> Iterator[tuple[Unit, Tensor]]:
    # Drawn ahead in a thread: NumPy's generators, the same everywhere, run on the CPU.
    def draw(unit: Unit) -> Tensor:
        return torch.from_numpy(np.random.default_rng(unit).standard_normal(shape, np.float32))

    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(draw, unit) for unit in units[:1])
        for i, unit in enumerate(units):
            ahead.extend(pool.submit(draw, following) for following in units[i + 1 : i + 2])
            yield unit, ahead.popleft().result()


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
