"""Figure 3: the interpolation function lambda, as it was learned."""

from pathlib import Path

from lightning.fabric import Fabric

from dpi.evaluation.rows import Row
from dpi.interpolation import InterpolationFunction
from dpi.runs import Run


def interpolation(run: Run, fabric: Fabric, folder: Path) -> list[Row]:
    """lambda(s) at every scalar s of a run told by DPI; no rows for another.

    Args:
        run: of the evaluation.
        fabric, folder: not used, there is nothing to compute and nothing to keep.
    """
    return [
        Row("lambda", value, scalar=s)
        for module in run.network.modules()
        if isinstance(module, InterpolationFunction)
        for s, value in enumerate(module.table().tolist())
    ]
