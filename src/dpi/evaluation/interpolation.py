"""Figure 3: the learned interpolation function lambda, or the weights of a mixture."""

from pathlib import Path

from lightning.fabric import Fabric

from dpi.interpolation import InterpolationFunction, Mixture
from dpi.runs.rows import Row
from dpi.runs.run import Run


def interpolation(run: Run, fabric: Fabric, folder: Path) -> list[Row]:
    """lambda(s) at every scalar s, or `weight_k` of each set of a mixture; no rows for a run whose
    parameters are not interpolated.

    Args:
        run: of the evaluation.
        fabric, folder: not used, there is nothing to compute and nothing to keep.
    """
    tables = {}
    for module in run.network.modules():
        if isinstance(module, InterpolationFunction):
            tables["lambda"] = module.table()
        elif isinstance(module, Mixture):
            tables |= {f"weight_{k}": w for k, w in enumerate(module.table())}
    if not tables:
        print(f"{run.folder} has no interpolated parameters, so there is no lambda")
    return [
        Row(name, value, scalar=s)
        for name, table in tables.items()
        for s, value in enumerate(table.tolist())
    ]
