"""Table 5: the training objective on held-out images, over all scalars; Table 2 and Figure 4: the
same of diffusion, the error of the predicted noise."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor

from dpi.data import to_unit
from dpi.errors import UserError
from dpi.evaluation.run_images import held_out_images
from dpi.frameworks import Framework, VPDiffusion, loss
from dpi.frameworks.quadrature import nodes, weights
from dpi.progress import Progress
from dpi.runs.check import Count, Scalars
from dpi.runs.rows import Row
from dpi.runs.run import Run


def objective(
    run: Run,
    fabric: Fabric,
    folder: Path,
    pictures: Count | None,
    at_most: Count,
    noise_seeds: Count,
    t: list[int] | None,
    scalars: Scalars | None,
    batch_size: Count,
    metric: Literal["objective", "mse"] = "objective",
) -> list[Row]:
    """E || g(x_s, s) - target ||^2 per element: the error of the noise, or of the velocity.

    Args:
        run, fabric, folder: of the evaluation; the errors are kept in the folder.
        pictures: how many held-out ones; None for all, `at_most` of them.
        noise_seeds: draws of noise for each image at each scalar.
        t: at these steps; None for steps of the whole schedule.
        scalars: how many of the whole schedule, see `nodes`; None for all.
        batch_size: images at once; does not change the result but for rounding.
        metric: its name. `mse`, the error of the noise, also gives `noise_scaled_mse`, sigma_s^2
            times it: of the predicted image, since x_s / sqrt(abar_s) = x_0 + sigma_s eps.

    Returns:
        A row for each scalar, and where t is None their mean over the schedule, with standard
        errors over noise seeds.

    Raises:
        UserError: too few held-out images.
    """
    num_scalars = run.framework.num_scalars
    steps = nodes(scalars or num_scalars, num_scalars) if t is None else sorted(set(t))
    precision = fabric.strategy.precision.precision
    images = held_out_images(run, pictures, at_most)
    kept = folder / f"errors-{len(images)}pictures-{precision}"
    errors = scalar_errors(run, fabric, images, noise_seeds, steps, batch_size, kept)
    settings = {"pictures": len(images), "noise_seeds": noise_seeds, "precision": precision}
    rows = [
        Row(metric, *_mean(at_seeds), scalar=s, settings=settings)
        for s, at_seeds in zip(steps, errors, strict=True)
    ]
    if t is None:
        over = settings | {"scalars": len(steps)}
        if len(steps) < num_scalars:
            over["mean"] = "interpolated"
        rows.append(Row(metric, *_mean(weights(steps, num_scalars) @ errors), settings=over))
    if metric == "mse":
        variances = run.framework.sigmas.double().square()
        rows += [_scaled(row, variances[row.scalar].item()) for row in rows[: len(steps)]]
    return rows


def _scaled(row: Row, factor: float) -> Row:
    error = row.standard_error and factor * row.standard_error
    return replace(row, metric="noise_scaled_mse", value=factor * row.value, standard_error=error)


def _mean(at_seeds: np.ndarray) -> tuple[float, float | None]:
    if len(at_seeds) == 1:
        return float(at_seeds[0]), None
    return float(at_seeds.mean()), float(at_seeds.std(ddof=1) / np.sqrt(len(at_seeds)))


def check_objective(name: str, settings: DictConfig, framework: Framework) -> None:
    """Raise UserError unless a framework has what the settings of `eval.NAME` ask for."""
    last = framework.num_scalars - 1
    if settings.t is not None and not (settings.t and all(0 <= s <= last for s in settings.t)):
        raise UserError(
            f"eval.{name}.t={list(settings.t)}: give steps from 0 to {last}, such as [0,{last}]"
        )
    if settings.get("metric") == "mse" and not isinstance(framework, VPDiffusion):
        raise UserError(
            f"eval={name}: it is only of diffusion, which predicts noise; use eval=objective"
        )


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
            # A newline before it also ends a line that a kill truncated.
            file.write("\n" * (file.tell() > 0) + json.dumps([s, j, total / len(x)]))
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
