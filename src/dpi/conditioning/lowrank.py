"""Low-rank sets: theta0 plus a few matrices of low rank, weighted by functions of the scalar."""

from collections.abc import Iterable

from dpi.architectures import Architecture
from dpi.frameworks import Framework
from dpi.interpolation import Interpolated, Mode, interpolate


def LowRank(
    network: Architecture,
    framework: Framework,
    rank: int | float = 0.125,
    bases: int = 4,
    include: Iterable[str] = ("*",),
    mode: Mode = "auto",
) -> Interpolated:
    """g(x, s) = f(theta(s), x) with theta(s) = theta0 + sum_k c_k(s) U_k V_k, k = 1 ... N.

    For one scalar these are plain weights: sampling costs what f costs. DPI is the case N = 1 with
    full rank and a monotone coefficient.

    Args:
        network: creates the base network f.
        framework: defines the number of scalars.
        rank: of U_k V_k, absolute or a fraction of the full rank of each weight.
        bases: N.
        include, mode: see `dpi.interpolation.interpolate`.
    """
    # theta_k - theta_{k-1} = U_k V_k: N + 1 sets.
    return interpolate(
        network(),
        framework.num_scalars,
        schedule="free",
        num_sets=bases + 1,
        rank=rank,
        include=include,
        mode=mode,
    )
