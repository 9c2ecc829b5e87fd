"""What samples are compared with: statistics of real images, in guided-diffusion's layout."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.fabric import Fabric

from dpi.data import read_npz, save_npz
from dpi.data.npz import is_whole
from dpi.errors import UserError
from dpi.evaluation.features import Chunks, FeatureNetwork, extract
from dpi.evaluation.frechet import statistics
from dpi.evaluation.images import images_of
from dpi.runs.run import Run

Gaussian = tuple[np.ndarray, np.ndarray]
"""A mean, (D,), and a covariance, (D, D)."""

KEEP = 10_000
"""Real images that are kept for metrics of neighbours and KID."""


class Reference(NamedTuple):
    """Features of real images."""

    pool: Gaussian
    """For FID."""
    spatial: Gaussian | None
    """For sFID, where there are spatial features."""
    features: np.ndarray | None
    """(M, D) float32, of those images that precision, recall and KID take."""


def write_reference(
    path: Path,
    images: np.ndarray,
    indices: np.ndarray,
    keep: int,
    extractor: FeatureNetwork,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> None:
    """Write the statistics of images, and some of the images, to an .npz:

    `mu`, `sigma` (of the pooled features), `mu_s`, `sigma_s` (of the spatial ones, Inception
    only), `arr_0` (images, uint8, N x H x W x C), and the `extractor` and its `weights`.

    Args:
        path: of the file, written by the first process.
        images: (N, H, W, C) uint8.
        indices: of those to take.
        keep: how many images to write, a random subset of them.
        extractor, cache, batch_size, fabric: see `extract`.
    """
    # The kept ones come first, so that their features are those of the first chunks.
    order = np.random.default_rng(0).permutation(indices)
    features = extract(Chunks(images, order), extractor, cache, batch_size, fabric)
    if fabric.is_global_zero:
        mu, sigma = statistics(features.pool)
        arrays = {
            "arr_0": images[order[:keep]],
            "mu": mu,
            "sigma": sigma,
            "extractor": np.array(extractor.name),
            "weights": np.array(extractor.weights),
        }
        if features.spatial is not None:
            arrays["mu_s"], arrays["sigma_s"] = statistics(features.spatial)
        save_npz(path, arrays)
    fabric.barrier()


def training_reference(
    run: Run, extractor: FeatureNetwork, cache: Path, batch_size: int, fabric: Fabric
) -> Path:
    """The file of statistics of a run's training images, written if there is none."""
    images = images_of(run)
    key = content(images.fingerprint, images.train, extractor.name, extractor.weights, KEEP)
    path = cache / f"reference-{run.cfg.data.name}-{run.cfg.image_size}-{key}.npz"
    exists = is_whole(path)
    fabric.barrier()
    if not exists:
        real = images.all.transpose(0, 2, 3, 1)
        write_reference(path, real, images.train, KEEP, extractor, cache, batch_size, fabric)
    return path


def read_reference(
    path: Path,
    size: Sequence[int],
    extractor: FeatureNetwork,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> Reference:
    """Read statistics that this module, guided-diffusion or EDM (`mu`, `sigma`) wrote, or
    compute them from the images in the file.

    Args:
        path: an .npz.
        size: (H, W) of the samples.
        extractor, cache, batch_size, fabric: see `extract`.

    Raises:
        UserError: it cannot be read, holds neither statistics nor images, images of another size,
            or statistics of another extractor.
    """
    arrays = read_npz(path, ("arr_0", "mu", "sigma", "mu_s", "sigma_s", "extractor", "weights"))
    has_statistics = {"mu", "sigma"} <= arrays.keys()
    if not has_statistics and "arr_0" not in arrays:
        raise UserError(f"{path} holds neither statistics (mu, sigma) nor images (arr_0)")
    _check_extractor(path, arrays, extractor, has_statistics)
    features = None
    if "arr_0" in arrays:
        real = _check_images(path, arrays["arr_0"])
        if tuple(real.shape[1:3]) != tuple(size):
            raise UserError(
                f"{path} holds images of {real.shape[1]}x{real.shape[2]}, and the samples are "
                f"{size[0]}x{size[1]}: compare images of one size"
            )
        features = extract(Chunks(real), extractor, cache, batch_size, fabric)
    if not fabric.is_global_zero:
        return Reference((np.empty(0), np.empty((0, 0))), None, None)
    stored = (arrays["mu"], arrays["sigma"]) if has_statistics else None
    pool = stored or statistics(features.pool)
    spatial = None
    if extractor.is_inception:
        if {"mu_s", "sigma_s"} <= arrays.keys():
            spatial = (arrays["mu_s"], arrays["sigma_s"])
        elif not has_statistics:
            spatial = statistics(features.spatial)
    return Reference(pool, spatial, features.pool if features else None)


def read_images(path: Path) -> np.ndarray:
    """The images in an .npz, `arr_0`: (N, H, W, C) uint8; UserError if there are none."""
    arrays = read_npz(path, ["arr_0"])
    if not arrays:
        raise UserError(f"{path} holds no images (arr_0, uint8, N x H x W x 3 or 1)")
    return _check_images(path, arrays["arr_0"])


def _check_images(path: Path, images: np.ndarray) -> np.ndarray:
    """Raise UserError unless the images are uint8 and N x H x W x C, C = 1 to 4, at least two."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in range(1, 5):
        raise UserError(
            f"{path} holds {images.dtype} of shape {images.shape}, not uint8 images of shape "
            "N x H x W x 3, or x 1 for greyscale"
        )
    if len(images) < 2:
        raise UserError(f"{path} holds {len(images)} images: at least two are needed")
    return images


def content(*parts: object) -> str:
    """Twelve hexadecimal digits that change when one of the parts does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def _check_extractor(
    path: Path, arrays: dict[str, np.ndarray], extractor: FeatureNetwork, has_statistics: bool
) -> None:
    for key, ours in (("extractor", extractor.name), ("weights", extractor.weights)):
        if key in arrays and str(arrays[key]) != ours:
            raise UserError(
                f"{path} holds statistics of another extractor ({key} {arrays[key]}, here {ours}): "
                "name that one with eval.fidelity.extractor= and .weights=, or recompute them with "
                "scripts/reference_stats.py"
            )
    if has_statistics:
        found = (arrays["mu"].shape, arrays["sigma"].shape)
        if found != ((extractor.size,), (extractor.size, extractor.size)):
            raise UserError(
                f"{path} holds statistics of another extractor: mu is {found[0]} and sigma "
                f"{found[1]}, and {extractor.name} gives {extractor.size} features"
            )
