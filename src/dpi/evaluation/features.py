"""Images to features: one pass of a feature network, the features of each chunk kept on disk."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning.fabric import Fabric

from dpi.data import kept_npz, read_npz, save_npz
from dpi.errors import UserError
from dpi.progress import Progress

CHUNK = 500
"""Images whose features are kept together."""


Features = dict[str, np.ndarray]
"""The features of N images by kind, float32. `pool`, (N, D): for the Frechet distance, KID and what
counts neighbours; D is 2048 for Inception. Of Inception also `spatial`, (N, 2023): for sFID,
positions before channels as in guided-diffusion; and `logits`, (N, 1008): for its score."""


KINDS = ("pool", "spatial", "logits")


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
) -> Features:
    """The features of images, of which those are computed that are not kept.

    Args:
        images: in chunks, each (B, H, W, C) uint8.
        total: how many there are.
        network: the feature network.
        cache: a folder. A chunk's features are kept there under the hash of its images, so that an
            interruption loses one chunk, and nothing is computed twice.
        batch_size: images at once; does not change the features but for rounding.
        fabric: the processes, which share the chunks among them.

    Returns:
        On every process; nothing of no images.

    Raises:
        UserError: features that are not finite.
    """
    folder = cache / "features" / f"{network.name}-{network.weights}"
    paths = []
    how = {"desc": "Features", "unit": "image", "disable": not (fabric.is_global_zero and total)}
    with Progress(total=total, **how) as bar:
        for i, chunk in enumerate(images):
            digest = hashlib.sha256(repr(chunk.shape).encode() + chunk.tobytes()).hexdigest()
            path = folder / f"{digest[:24]}.npz"
            paths.append(path)
            if i % fabric.world_size != fabric.global_rank or kept_npz(path, KINDS):
                bar.update(len(chunk))
                continue
            parts = []
            for first in range(0, len(chunk), batch_size):
                parts.append(network.features(chunk[first : first + batch_size]))
                bar.update(len(parts[-1]["pool"]))
            save_npz(path, _joined(parts))
    fabric.barrier()
    features = _joined([read_npz(path, KINDS) for path in paths])
    for kind, values in features.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"the {kind} features in {folder} are not finite: check the network's weights, and "
                "delete the folder"
            )
    return features


def _joined(parts: list[Features]) -> Features:
    kinds = parts[0] if parts else {}
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in kinds}
