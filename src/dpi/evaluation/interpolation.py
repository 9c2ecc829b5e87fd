"""Figure 3: the learned interpolation function lambda."""

from pathlib import Path

from lightning.fabric import Fabric

from dpi.evaluation.rows import Row
from dpi.interpolation import InterpolationFunction
from dpi.runs.run import Run


def interpolation(run: Run, fabric: Fabric, folder: Path) -> list[Row]:
    """lambda(s) at every scalar s, for a run conditioned by DPI; no rows for any other.

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
