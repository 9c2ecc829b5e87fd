"""Table 2 and Figure 4: how well the noise is predicted, at every noise level."""

from dataclasses import replace
from pathlib import Path

from lightning.fabric import Fabric

from dpi.errors import UserError
from dpi.evaluation.objective import objective
from dpi.frameworks import Framework, VPDiffusion
from dpi.runs.check import Count, Scalars
from dpi.runs.rows import Row
from dpi.runs.run import Run


def check_diffusion(framework: Framework) -> None:
    """Raise UserError unless a framework is diffusion."""
    if not isinstance(framework, VPDiffusion):
        raise UserError(
            "eval=denoising: it is only of diffusion, which predicts noise; use eval=objective"
        )


def denoising(
    run: Run,
    fabric: Fabric,
    folder: Path,
    pictures: Count,
    noise_seeds: Count,
    t: list[int] | None,
    scalars: Scalars | None,
    batch_size: Count,
) -> list[Row]:
    """The mean squared error of the predicted noise, and sigma_t^2 times it.

    The first is diffusion's training objective; the second (Figure 4) is the error of the
    predicted image, since x_t / sqrt(abar_t) = x_0 + sigma_t eps.

    Args:
        as those of `objective`.

    Returns:
        Rows `mse` and `noise_scaled_mse` at each step, and the mean of `mse` over the schedule.

    Raises:
        UserError: what `objective` raises.
    """
    mse = objective(run, fabric, folder, pictures, noise_seeds, t, scalars, batch_size, "mse")
    rows = list(mse)
    for row in mse:
        if row.scalar is not None:
            variance = run.framework.sigmas[row.scalar].item() ** 2
            error = row.standard_error and variance * row.standard_error
            scaled = variance * row.value
            rows.append(replace(row, metric="noise_scaled_mse", value=scaled, standard_error=error))
    return rows
