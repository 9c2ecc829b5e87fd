"""What samples are compared with: statistics of real pictures, in guided-diffusion's layout."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.fabric import Fabric

from dpi.data import read_npz, save_npz
from dpi.errors import UserError
from dpi.evaluation.features import Chunks, Extractor, extract
from dpi.evaluation.frechet import statistics

Gaussian = tuple[np.ndarray, np.ndarray]
"""A mean, (D,), and a covariance, (D, D)."""


class Reference(NamedTuple):
    """Real pictures as a feature network sees them."""

    pool: Gaussian
    """For FID."""
    spatial: Gaussian | None
    """For sFID, where there are spatial features."""
    features: np.ndarray | None
    """(M, D) float32, of those pictures that precision, recall and KID take."""


def write_reference(
    path: Path,
    pictures: np.ndarray,
    indices: np.ndarray,
    keep: int,
    extractor: Extractor,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> None:
    """Write the statistics of pictures, and some of the pictures, to an .npz:

    `mu`, `sigma` (of the pooled features), `mu_s`, `sigma_s` (of the spatial ones, Inception
    only), `arr_0` (pictures, uint8, N x H x W x 3), and by whom: `extractor`, `weights`.

    Args:
        path: of the file, written by the first process.
        pictures: (N, H, W, 3) uint8.
        indices: which of them to take.
        keep: how many pictures to write, a random part of them.
        extractor, cache, batch_size, fabric: see `extract`.
    """
    # The kept ones come first, so that theirs are the first chunks' features.
    order = np.random.default_rng(0).permutation(indices)
    features = extract(Chunks(pictures, order), extractor, cache, batch_size, fabric)
    if fabric.is_global_zero:
        mu, sigma = statistics(features.pool)
        arrays = {
            "arr_0": pictures[order[:keep]],
            "mu": mu,
            "sigma": sigma,
            "extractor": np.array(extractor.name),
            "weights": np.array(extractor.weights),
        }
        if features.spatial is not None:
            arrays["mu_s"], arrays["sigma_s"] = statistics(features.spatial)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_npz(path, arrays)
    fabric.barrier()


def read_reference(
    path: Path,
    size: Sequence[int],
    extractor: Extractor,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> Reference:
    """Read statistics that this module, guided-diffusion or EDM (`mu`, `sigma`) wrote, or
    compute them from the pictures in the file.

    Args:
        path: an .npz.
        size: (H, W) of the pictures that are to be compared.
        extractor, cache, batch_size, fabric: see `extract`.

    Raises:
        UserError: it cannot be read, holds neither statistics nor pictures, pictures of another
            size, or statistics of another extractor.
    """
    arrays = read_npz(path, ("arr_0", "mu", "sigma", "mu_s", "sigma_s", "extractor", "weights"))
    has_statistics = {"mu", "sigma"} <= arrays.keys()
    if not has_statistics and "arr_0" not in arrays:
        raise UserError(f"{path} holds neither statistics (mu, sigma) nor pictures (arr_0)")
    _check_extractor(path, arrays, extractor, has_statistics)
    features = None
    if "arr_0" in arrays:
        real = _check_pictures(path, arrays["arr_0"])
        if tuple(real.shape[1:3]) != tuple(size):
            raise UserError(
                f"{path} holds pictures of {real.shape[1]}x{real.shape[2]}, and the samples are "
                f"{size[0]}x{size[1]}: compare pictures of one size"
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


def read_pictures(path: Path) -> np.ndarray:
    """The pictures in an .npz, `arr_0`: (N, H, W, 3) uint8; UserError where there are none."""
    arrays = read_npz(path, ["arr_0"])
    if not arrays:
        raise UserError(f"{path} holds no pictures (arr_0, uint8, N x H x W x 3)")
    return _check_pictures(path, arrays["arr_0"])


def _check_pictures(path: Path, pictures: np.ndarray) -> np.ndarray:
    """Raise UserError unless pictures are uint8 and N x H x W x 3, at least two."""
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise UserError(
            f"{path} holds {pictures.dtype} of shape {pictures.shape}, not uint8 pictures of shape "
            "N x H x W x 3"
        )
    if len(pictures) < 2:
        raise UserError(f"{path} holds {len(pictures)} pictures: at least two are needed")
    return pictures


def content(*parts: object) -> str:
    """Twelve hexadecimal digits that change when one of the parts does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def _check_extractor(
    path: Path, arrays: dict[str, np.ndarray], extractor: Extractor, has_statistics: bool
) -> None:
    for key, ours in (("extractor", extractor.name), ("weights", extractor.weights)):
        if key in arrays and str(arrays[key]) != ours:
            raise UserError(
                f"{path} holds statistics of another extractor ({key} {arrays[key]}, here {ours}): "
                "name that one with extractor= and weights=, or make them anew with "
                "scripts/reference_stats.py"
            )
    if has_statistics:
        found = (arrays["mu"].shape, arrays["sigma"].shape)
        if found != ((extractor.size,), (extractor.size, extractor.size)):
            raise UserError(
                f"{path} holds statistics of another extractor: mu is {found[0]} and sigma "
                f"{found[1]}, and {extractor.name} gives {extractor.size} features"
            )
