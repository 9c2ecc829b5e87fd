"""The images of a run: those it was trained on, and those that were held out."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpi.data import has_fingerprint, memory_map
from dpi.errors import UserError
from dpi.runs.images import open_source
from dpi.runs.record import read_split
from dpi.runs.run import Run


class Images(NamedTuple):
    """A run's images and how they were split."""

    all: np.ndarray
    """(N, C, H, W) uint8."""
    train: np.ndarray
    """Indices of the training images."""
    held_out: np.ndarray
    """Indices of the held-out images."""


def held_out_images(run: Run, count: int) -> np.ndarray:
    """Some of the images that the run was not trained on, always the same ones.

    Returns:
        (count, C, H, W) uint8; the first of a random order, so that fewer are a subset of more.

    Raises:
        UserError: there are fewer, or the data set has changed.
    """
    images = images_of(run)
    indices = images.held_out
    if len(indices) < count:
        raise UserError(
            f"{run.folder} held out {len(indices)} images and {count} are asked for: "
            f"give pictures={len(indices)} or fewer"
        )
    return images.all[np.random.default_rng(0).permutation(indices)[:count]]


def images_of(run: Run) -> Images:
    """A run's images; UserError if the data set has changed since."""
    try:
        source = open_source(run.cfg)
    except UserError as error:  # whose advice is for train.py
        reason = str(error).partition(";")[0]
        raise UserError(f"{reason}; give data_path=, where the run's images are now") from None
    split = read_split(run.folder)
    if not has_fingerprint(source, split.fingerprint):
        raise UserError(
            f"the images that {run.folder} was trained on have changed: "
            "give data_path=, a folder or file that holds them as they were"
        )
    images = memory_map(source, Path(run.cfg.data.cache_dir), run.cfg.data.name)
    held_out = np.array(split.held_out)
    train = np.setdiff1d(np.arange(len(images)), [*held_out, *split.left_out])
    return Images(images, train, held_out)
