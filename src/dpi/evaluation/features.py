"""Images to features: one pass of a feature network, the features of each chunk kept on disk."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.fabric import Fabric

from dpi.data import save_npz
from dpi.data.npz import is_whole
from dpi.errors import UserError
from dpi.progress import Progress

CHUNK = 500
"""Images whose features are kept together."""


class Features(NamedTuple):
    """The features of N images; float32."""

    pool: np.ndarray
    """(N, D): for the Frechet distance, KID and what counts neighbours; D is 2048 for Inception."""
    spatial: np.ndarray | None = None
    """(N, 2023): for sFID, positions before channels as in guided-diffusion; Inception only."""
    logits: np.ndarray | None = None
    """(N, 1008): for the Inception Score; Inception only."""


@dataclass(frozen=True)
class FeatureNetwork:
    """What maps images to features, see `dpi.evaluation.extractors`."""

    name: str
    weights: str
    """Identifies its weights."""
    features: Callable[[np.ndarray], Features]
    """(B, H, W, C) uint8 images to features."""


def chunks(images: np.ndarray, order: Sequence[int]) -> Iterator[np.ndarray]:
    """Of (N, H, W, C) images those of the indices `order`, CHUNK at a time."""
    for first in range(0, len(order), CHUNK):
        yield np.ascontiguousarray(images[order[first : first + CHUNK]])


def extract(
    images: Iterable[np.ndarray],
    total: int,
    network: FeatureNetwork,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> list[Path]:
    """Write the features of images that are not written yet.

    Args:
        images: in chunks, each (B, H, W, C) uint8.
        total: how many there are.
        network: the feature network.
        cache: a folder. A chunk's features are kept there under the hash of its images, so that an
            interruption loses one chunk, and nothing is computed twice.
        batch_size: images at once; does not change the features but for rounding.
        fabric: the processes, which share the chunks among them.

    Returns:
        The files of the chunks, for `read_features`.
    """
    folder = cache / "features" / f"{network.name}-{network.weights}"
    paths = []
    bar = Progress(total=total, desc="Features", unit="image", disable=not fabric.is_global_zero)
    with bar:
        for i, chunk in enumerate(images):
            path = folder / f"{_hash(chunk)}.npz"
            paths.append(path)
            if i % fabric.world_size != fabric.global_rank or is_whole(path):
                bar.update(len(chunk))
                continue
            parts = []
            for first in range(0, len(chunk), batch_size):
                parts.append(network.features(chunk[first : first + batch_size]))
                bar.update(len(parts[-1].pool))
            save_npz(path, _joined([part._asdict() for part in parts]))
    fabric.barrier()
    return paths


def read_features(paths: Iterable[Path]) -> Features:
    """The features in the files that `extract` wrote; UserError if one is not finite."""
    parts = []
    for path in paths:
        with np.load(path) as file:
            parts.append(dict(file))
    features = _joined(parts)
    for kind, values in features.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"the {kind} features in {path.parent} are not finite: check the network's "
                "weights, and delete the folder"
            )
    return Features(**features)


def _joined(parts: list[dict[str, np.ndarray | None]]) -> dict[str, np.ndarray]:
    names = [name for name, array in parts[0].items() if array is not None]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _hash(chunk: np.ndarray) -> str:
    return hashlib.sha256(repr(chunk.shape).encode() + chunk.tobytes()).hexdigest()[:24]
