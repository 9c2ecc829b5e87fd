"""What lies among whose nearest neighbours: precision and recall, density and coverage."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dpi.progress import Progress

BLOCK = 2048
"""Distances are computed in blocks of BLOCK x BLOCK, 32 MiB each."""


def precision_recall(
    real_features: Tensor | np.ndarray,
    fake_features: Tensor | np.ndarray,
    k: int = 3,
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al., 2019).

    Around each point of a set lies a ball that reaches to its k-th nearest neighbour within the
    set, itself not counted. Precision is the share of fakes that lie in a ball of the real set,
    recall the share of real ones that lie in a ball of the fake set. A ball holds its surface: a
    point counts as on it where its distance and the radius differ by float64's rounding.

    Args:
        real_features: (N, D), on the device to compute on.
        fake_features: (M, D).
        k: which neighbour.

    Returns:
        (precision, recall), each in [0, 1]. Beyond a copy of the features in float64 some hundred
        MiB are taken, whatever N and M.

    Raises:
        ValueError: features of different lengths, or that are not finite, or a set of k points or
            fewer.
    """
    real, fake = _points(real_features, fake_features, k)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    real_in, fake_in = (torch.zeros_like(radii).bool() for radii in (real_radii, fake_radii))
    for rows, columns, least in _least_distances(real, fake):
        real_in[rows] |= (least <= fake_radii[columns]).any(dim=1)
        fake_in[columns] |= (least <= real_radii[rows, None]).any(dim=0)
    return fake_in.double().mean().item(), real_in.double().mean().item()


def density_coverage(
    real_features: Tensor | np.ndarray,
    fake_features: Tensor | np.ndarray,
    k: int = 5,
) -> tuple[float, float]:
    """Density and coverage (Naeem et al., 2020), from the balls of the real set alone.

    Density is in how many balls a fake lies, divided by k: about 1 where the sets are of one
    distribution. Coverage is the share of the balls that hold a fake.

    Args:
        as those of `precision_recall`.

    Returns:
        (density, coverage): at least 0, and in [0, 1].

    Raises:
        ValueError: as `precision_recall`.
    """
    real, fake = _points(real_features, fake_features, k)
    radii = _radii(real, k)
    held, covered = 0, torch.zeros_like(radii).bool()
    for rows, _, least in _least_distances(real, fake):
        inside = least <= radii[rows, None]
        held += inside.sum().item()
        covered[rows] |= inside.any(dim=1)
    return held / (k * len(fake)), covered.double().mean().item()


def _points(real: Tensor | np.ndarray, fake: Tensor | np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    """Both in float64 around the mean of the real ones: distances are differences of squares, and
    the smaller these are, the less is lost."""
    real, fake = torch.as_tensor(real), torch.as_tensor(fake)
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must be (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(f"k={k} needs more than {k} points, got {len(real)} and {len(fake)}")
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("features must be finite")
    device = real.device
    real, fake = (of.to(device, torch.float64, copy=True) for of in (real, fake))
    mean = real.mean(dim=0)
    return real.sub_(mean), fake.sub_(mean)


def _radii(points: Tensor, k: int) -> Tensor:
    """The squared distance of each point to its k-th nearest neighbour, at the most: (N,)."""
    nearest = points.new_full((len(points), k), torch.inf)
    blocks = _blocks(points)
    pairs = [(rows, columns) for i, rows in enumerate(blocks) for columns in blocks[i:]]
    for rows, columns in Progress(pairs, desc="Neighbours", leave=False):
        most = _squared_distances(points[rows], points[columns], _rounding(points))
        if rows == columns:
            most.fill_diagonal_(torch.inf)
        else:
            # The matrix is symmetric: its upper half says it all.
            nearest[columns] = _least(k, nearest[columns], most.T)
        nearest[rows] = _least(k, nearest[rows], most)
    return nearest.amax(dim=1)


def _least(k: int, *distances: Tensor) -> Tensor:
    return torch.cat(distances, dim=1).topk(k, largest=False).values


def _least_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """A block's rows, columns and squared distances between a and b, at the least."""
    pairs = [(rows, columns) for rows in _blocks(a) for columns in _blocks(b)]
    for rows, columns in Progress(pairs, desc="Distances", leave=False):
        yield rows, columns, _squared_distances(a[rows], b[columns], -_rounding(a))


def _blocks(points: Tensor) -> list[slice]:
    return [slice(first, first + BLOCK) for first in range(0, len(points), BLOCK)]


def _rounding(points: Tensor) -> float:
    """A bound of what rounding changes a squared distance by, in parts of |a|^2 + |b|^2: the errors
    of D products and sums in float64."""
    return 2 * (points.shape[1] + 4) * torch.finfo(torch.float64).eps


def _squared_distances(a: Tensor, b: Tensor, more: float) -> Tensor:
    """|a|^2 + |b|^2 - 2 a b of all pairs, the squares being `more` of themselves larger."""
    squares = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1)
    return squares.mul_(1 + more).addmm_(a, b.T, alpha=-2)
