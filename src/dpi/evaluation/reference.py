"""What samples are compared with: real images, or their statistics in guided-diffusion's layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpi.data import Folder, read_npz
from dpi.data.prepare import MODES
from dpi.errors import UserError
from dpi.evaluation.features import FeatureNetwork, Features
from dpi.evaluation.frechet import statistics
from dpi.evaluation.run_images import images_of
from dpi.runs.run import Run

Gaussian = tuple[np.ndarray, np.ndarray]
"""A mean, (D,), and a covariance, (D, D)."""

ARRAYS = {"pool": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
"""Where a file has the Gaussian of the features of a kind."""

KEEP = 10_000
"""Training images that KID and the metrics of neighbours take."""


class Reference(NamedTuple):
    """Real images, their statistics, or both."""

    name: str
    images: np.ndarray
    """(N, H, W, C) uint8; N is 0 where there are statistics alone."""
    order: np.ndarray
    """Indices of the images to take."""
    keep: int
    """How many of them KID and the metrics of neighbours take."""
    known: dict[str, Gaussian]
    """The statistics of each kind of features; empty if they are those of the images."""


def training_images(run: Run) -> Reference:
    """The images that a run was trained on; UserError if they have changed, or are one."""
    images, split = images_of(run)
    if len(split.train) < 2:
        raise UserError(f"{run.folder} has one training image: give eval.fidelity.reference=")
    order = np.random.default_rng(0).permutation(split.train)
    return Reference(run.cfg.data.name, images.transpose(0, 2, 3, 1), order, KEEP, {})


def read_reference(path: Path, shape: Sequence[int], network: FeatureNetwork) -> Reference:
    """Read images, or statistics that scripts/reference_stats.py, guided-diffusion or EDM wrote.

    Args:
        path: as that of `read_images`, or an .npz with `mu` and `sigma`.
        shape: (H, W, C) of the samples.
        network: which the statistics have to be of.

    Raises:
        UserError: it cannot be read, holds neither statistics nor images, images of another shape,
            or statistics of another network.
    """
    if path.suffix != ".npz":
        images, known = read_images(path), {}
    else:
        names = [name for pair in ARRAYS.values() for name in pair]
        arrays = read_npz(path, ["arr_0", "extractor", "weights", *names])
        known = {
            kind: (arrays[mu], arrays[sigma])
            for kind, (mu, sigma) in ARRAYS.items()
            if {"mu", "sigma", mu, sigma} <= arrays.keys()
        }
        if not known and "arr_0" not in arrays:
            raise UserError(f"{path} holds neither statistics (mu, sigma) nor images (arr_0)")
        _check_network(path, arrays, known, shape, network)
        images = np.empty((0, *shape), np.uint8)
        if "arr_0" in arrays:
            images = _check_images(path, arrays["arr_0"])
    if images.shape[1:] != tuple(shape):
        raise UserError(
            f"{path} holds images of {_by(images.shape[1:])}, and the samples are {_by(shape)}: "
            "compare images of one shape"
        )
    return Reference(path.name, images, np.arange(len(images)), len(images), known)


def read_images(path: Path) -> np.ndarray:
    """Read images: (N, H, W, C) uint8.

    Args:
        path: an .npz, whose `arr_0` they are, or a folder or a zip of files of one size and mode.

    Raises:
        UserError: there are none, or others.
    """
    if path.suffix == ".npz":
        arrays = read_npz(path, ["arr_0"])
        if not arrays:
            raise UserError(f"{path} holds no images (arr_0, uint8, N x H x W x 3 or 1)")
        return _check_images(path, arrays["arr_0"])
    folder = Folder(path, 1)
    images = [folder.open(i) for i in range(len(folder))]
    for image, name in zip(images, folder.names, strict=True):
        one = (image.mode, image.size) == (images[0].mode, images[0].size)
        if not one or image.mode not in MODES.values():
            raise UserError(
                f"{path}: {name} is {image.mode} of {_by(image.size)}: compare images of one size "
                "and mode, such as RGB"
            )
    arrays = np.stack([np.asarray(image) for image in images])
    return _check_images(path, arrays.reshape(*arrays.shape[:3], -1))


def gaussians(features: Features) -> dict[str, Gaussian]:
    """The mean and the covariance of each kind of features."""
    return {kind: statistics(features[kind]) for kind in ARRAYS if kind in features}


def _check_images(path: Path, images: np.ndarray) -> np.ndarray:
    """Raise UserError unless the images are uint8 and N x H x W x C, C = 1 to 4, at least two."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in MODES:
        raise UserError(
            f"{path} holds {images.dtype} of shape {images.shape}, not uint8 images of shape "
            "N x H x W x 3, or x 1 for greyscale"
        )
    if len(images) < 2:
        raise UserError(f"{path} holds {len(images)} images: at least two are needed")
    return images


def _check_network(
    path: Path,
    arrays: dict[str, np.ndarray],
    known: dict[str, Gaussian],
    shape: Sequence[int],
    network: FeatureNetwork,
) -> None:
    """Raise UserError if a file says, or shows, that its statistics are of another network."""
    ours = {"extractor": network.name, "weights": network.weights}
    theirs = {key: str(arrays[key]) for key in ours if key in arrays}
    if known:
        size = network.features(np.zeros((1, *shape), np.uint8))["pool"].shape[1]
        ours["shapes"] = [(size,), (size, size)]
        theirs["shapes"] = [array.shape for array in known["pool"]]
    if ours | theirs != ours:
        raise UserError(
            f"{path} holds statistics of another extractor, {theirs}, here {ours}: name that one "
            "with eval.fidelity.extractor= and .weights=, or recompute them with "
            "scripts/reference_stats.py"
        )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
