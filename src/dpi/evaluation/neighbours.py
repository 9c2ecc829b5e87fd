"""Precision and recall: the share of one set that lies among the neighbours of the other."""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

BLOCK = 4096
"""Distances are computed in blocks of BLOCK x BLOCK, 64 MiB each."""


def precision_recall(
    real_features: Tensor | np.ndarray,
    fake_features: Tensor | np.ndarray,
    k: int = 3,
    progress: bool = False,
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
    real, fake = torch.as_tensor(real_features).float(), torch.as_tensor(fake_features).float()
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must be (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(f"k={k} needs more than {k} points, got {len(real)} and {len(fake)}")
    # Distances from differences of squares: the smaller the squares, the less is lost.
    centre = real.mean(dim=0)
    real, fake = real - centre, fake.to(real.device) - centre
    n, m = -(-len(real) // BLOCK), -(-len(fake) // BLOCK)
    blocks = n * (n + 1) // 2 + m * (m + 1) // 2 + n * m
    with tqdm(total=blocks, desc="Neighbours", disable=not progress, leave=False) as bar:
        real_radii, fake_radii = _radii(real, k, bar), _radii(fake, k, bar)
        real_in = torch.zeros(len(real), dtype=torch.bool, device=real.device)
        fake_in = torch.zeros(len(fake), dtype=torch.bool, device=real.device)
        for i in range(0, len(real), BLOCK):
            rows = slice(i, i + BLOCK)
            for j in range(0, len(fake), BLOCK):
                columns = slice(j, j + BLOCK)
                d = _squared_distances(real[rows], fake[columns])
                real_in[rows] |= (d <= fake_radii[columns]).any(dim=1)
                fake_in[columns] |= (d <= real_radii[rows, None]).any(dim=0)
                bar.update()
    return fake_in.double().mean().item(), real_in.double().mean().item()


def _radii(points: Tensor, k: int, bar: tqdm) -> Tensor:
    """Squared distance of each point to its k-th nearest neighbour: (N,)."""
    nearest = torch.full((len(points), k), torch.inf, device=points.device)
    for i in range(0, len(points), BLOCK):
        for j in range(i, len(points), BLOCK):
            rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
            d = _squared_distances(points[rows], points[columns])
            if i == j:
                d.fill_diagonal_(torch.inf)
            else:
                # The matrix is symmetric: its upper half says it all.
                nearest[columns] = _smallest(nearest[columns], d.T, k)
            nearest[rows] = _smallest(nearest[rows], d, k)
            bar.update()
    return nearest[:, -1]


def _smallest(nearest: Tensor, d: Tensor, k: int) -> Tensor:
    candidates = d.topk(min(k, d.shape[1]), largest=False).values
    return torch.cat([nearest, candidates], dim=1).topk(k, largest=False, sorted=True).values


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    d = torch.addmm(b.square().sum(dim=1), a, b.T, alpha=-2)
    return d.add_(a.square().sum(dim=1)[:, None]).clamp_(min=0)
