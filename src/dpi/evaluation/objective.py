"""Table 5: the training objective on held-out images, over all scalars."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning.fabric import Fabric

from dpi.errors import UserError
from dpi.evaluation.per_scalar import scalar_errors
from dpi.evaluation.run_images import held_out_images
from dpi.frameworks.quadrature import nodes, weights
from dpi.runs.check import Count, Scalars
from dpi.runs.rows import Row
from dpi.runs.run import Run


def objective(
    run: Run,
    fabric: Fabric,
    folder: Path,
    pictures: Count,
    noise_seeds: Count,
    t: list[int] | None,
    scalars: Scalars | None,
    batch_size: Count,
    metric: str = "objective",
) -> list[Row]:
    """E || g(x_s, s) - target ||^2 per element: the error of the noise, or of the velocity.

    Args:
        run, fabric, folder: of the evaluation; the errors are kept in the folder.
        pictures: how many held-out ones.
        noise_seeds: draws of noise for each image at each scalar.
        t: at these steps; None for steps of the whole schedule.
        scalars: how many of the whole schedule, see `nodes`; None for all.
        batch_size: images at once; does not change the result but for rounding.
        metric: its name.

    Returns:
        A row for each scalar, and where t is None their mean over the schedule, with standard
        errors over noise seeds.

    Raises:
        UserError: too few held-out images, or an error that is not finite.
    """
    num_scalars = run.framework.num_scalars
    steps = nodes(scalars or num_scalars, num_scalars) if t is None else sorted(set(t))
    precision = fabric.strategy.precision.precision
    errors = scalar_errors(
        run,
        fabric,
        held_out_images(run, pictures),
        noise_seeds,
        steps,
        batch_size,
        folder / f"errors-{pictures}pictures-{precision}",
    )
    settings = {"pictures": pictures, "noise_seeds": noise_seeds, "precision": precision}
    rows = [
        Row(metric, *_mean(at_seeds), scalar=s, settings=settings)
        for s, at_seeds in zip(steps, errors, strict=True)
    ]
    if t is None:
        over = settings | {"scalars": len(steps)}
        if len(steps) < num_scalars:
            over["mean"] = "interpolated"
        rows.append(Row(metric, *_mean(weights(steps, num_scalars) @ errors), settings=over))
    return rows


def _mean(at_seeds: np.ndarray) -> tuple[float, float | None]:
    if len(at_seeds) == 1:
        return float(at_seeds[0]), None
    return float(at_seeds.mean()), float(at_seeds.std(ddof=1) / np.sqrt(len(at_seeds)))


def check_scalars(t: Sequence[int], num_scalars: int, key: str) -> None:
    """Raise UserError unless all are steps of the schedule, and there is one."""
    if not t or not all(isinstance(s, int) and 0 <= s < num_scalars for s in t):
        last = num_scalars - 1
        raise UserError(f"{key}={list(t)}: give steps from 0 to {last}, such as [0,{last}]")
