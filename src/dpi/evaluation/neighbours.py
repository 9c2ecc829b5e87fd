"""What lies among whose nearest neighbours: precision and recall, density and coverage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dpi.progress import Progress

BLOCK = 4096
"""Distances are computed in blocks of BLOCK x BLOCK, 64 MiB each."""

Features = Tensor | np.ndarray


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 matrices in float32, also where training has allowed TF32."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)


@full_precision()
def precision_recall(
    real_features: Features, fake_features: Features, k: int = 3, progress: bool = False
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al., 2019).

    Around each point of a set lies a ball that reaches to its k-th nearest neighbour within the
    set, itself not counted. Precision is the share of fakes that lie in a ball of the real set,
    recall the share of real ones that lie in a ball of the fake set; a ball holds its surface.

    Args:
        real_features: (N, D), on the device to compute on.
        fake_features: (M, D).
        k: which neighbour.
        progress: show a progress bar.

    Returns:
        (precision, recall), each in [0, 1]. Beyond a second copy of the features some hundred MiB
        are taken, whatever N and M. (guided-diffusion's evaluator computes distances in half
        precision where they fit, which can move points that lie on a surface.)

    Raises:
        ValueError: features of different lengths, or a set of k points or fewer.
    """
    real, fake = _points(real_features, fake_features, k)
    real_radii, fake_radii = _radii(real, k, progress), _radii(fake, k, progress)
    real_in, fake_in = (torch.zeros_like(radii).bool() for radii in (real_radii, fake_radii))
    for rows, columns, a, b in _blocks(real, fake, progress):
        least = _squared_distances(a, b, _slack(a))
        real_in[rows] |= _within(a, b, least, fake_radii[columns]).any(dim=1)
        fake_in[columns] |= _within(a, b, least, real_radii[rows, None]).any(dim=0)
    return fake_in.double().mean().item(), real_in.double().mean().item()


@full_precision()
def density_coverage(
    real_features: Features, fake_features: Features, k: int = 5, progress: bool = False
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
    radii = _radii(real, k, progress)
    held, covered = 0, torch.zeros_like(radii).bool()
    for rows, _, a, b in _blocks(real, fake, progress):
        inside = _within(a, b, _squared_distances(a, b, _slack(a)), radii[rows, None])
        held += inside.sum().item()
        covered[rows] |= inside.any(dim=1)
    return held / (k * len(fake.given)), covered.double().mean().item()


class _Points(NamedTuple):
    given: Tensor
    """(N, D), float32."""
    centred: Tensor
    """The same around the mean of the real ones: distances are differences of squares, and the
    smaller these are, the less is lost."""
    squares: Tensor
    """The squared lengths of the centred ones: (N,)."""

    def part(self, rows: slice) -> "_Points":
        return _Points(self.given[rows], self.centred[rows], self.squares[rows])


def _points(real: Features, fake: Features, k: int) -> tuple[_Points, _Points]:
    real, fake = torch.as_tensor(real).float(), torch.as_tensor(fake).float()
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must be (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(f"k={k} needs more than {k} points, got {len(real)} and {len(fake)}")
    both = real, fake.to(real.device)
    centred = [of - real.mean(dim=0) for of in both]
    return tuple(_Points(of, c, c.square().sum(dim=1)) for of, c in zip(both, centred, strict=True))


def _blocks(
    a: _Points, b: _Points, progress: bool
) -> Iterator[tuple[slice, slice, _Points, _Points]]:
    firsts = [(i, j) for i in range(0, len(a.given), BLOCK) for j in range(0, len(b.given), BLOCK)]
    for i, j in Progress(firsts, desc="Distances", disable=not progress, leave=False):
        rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
        yield rows, columns, a.part(rows), b.part(columns)


def _radii(points: _Points, k: int, progress: bool) -> Tensor:
    """Squared distance of each point to its k-th nearest neighbour: (N,), float64."""
    count, device = len(points.given), points.given.device
    nearest = torch.full((count, k), torch.inf, device=device)
    names = torch.zeros((count, k), dtype=torch.long, device=device)

    def update(rows: slice, first: int, d: Tensor) -> None:
        found = d.topk(min(k, d.shape[1]), largest=False)
        candidates = torch.cat([nearest[rows], found.values], dim=1)
        nearest[rows], places = candidates.topk(k, largest=False)
        names[rows] = torch.cat([names[rows], found.indices + first], dim=1).gather(1, places)

    firsts = [(i, j) for i in range(0, count, BLOCK) for j in range(i, count, BLOCK)]
    for i, j in Progress(firsts, desc="Neighbours", disable=not progress, leave=False):
        rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
        d = _squared_distances(points.part(rows), points.part(columns))
        if i == j:
            d.fill_diagonal_(torch.inf)
        else:
            # The matrix is symmetric: its upper half says it all.
            update(columns, i, d.T)
        update(rows, j, d)
    parts = [
        torch.stack([_exact(own, points.given[of]) for of in names[i : i + BLOCK].T])
        for i, own in zip(range(0, count, BLOCK), points.given.split(BLOCK), strict=True)
    ]
    return torch.cat(parts, dim=1).amax(dim=0)


def _within(a: _Points, b: _Points, least: Tensor, radii: Tensor) -> Tensor:
    """Whether squared distances, of which `least` is the least, are at most the radii, which have
    their shape or are expanded to it. Where rounding decides, it is decided in float64."""
    inside = least <= radii.float()
    i, j = inside.nonzero(as_tuple=True)
    most = least[i, j] + 2 * _slack(a) * (a.squares[i] + b.squares[j])
    radii = radii.expand(inside.shape)
    unsure = most > radii[i, j]
    for m, n in zip(i[unsure].split(BLOCK), j[unsure].split(BLOCK), strict=True):
        inside[m, n] = _exact(a.given[m], b.given[n]) <= radii[m, n]
    return inside


def _slack(points: _Points) -> float:
    """What rounding may change a squared distance by, in parts of |a|^2 + |b|^2: a few eps when it
    is centred and added up, and the errors of D products, which add up as a random walk."""
    return 8 * points.given.shape[1] ** 0.5 * torch.finfo(torch.float32).eps


def _squared_distances(a: _Points, b: _Points, slack: float = 0.0) -> Tensor:
    """All of two sets, in float32, less the slack."""
    d = torch.addmm((1 - slack) * b.squares, a.centred, b.centred.T, alpha=-2)
    return d.add_((1 - slack) * a.squares[:, None]).clamp_(min=0)


def _exact(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of pairs of points, both (P, D): (P,), float64."""
    return (a.double() - b.double()).square().sum(dim=1)
