"""The split into training images and held-out images."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dpi.errors import UserError


class Split(NamedTuple):
    """Sorted indices, int64, disjoint and together complete."""

    train: np.ndarray
    held_out: np.ndarray
    left_out: np.ndarray
    """Near-duplicates of held-out images, which are in neither."""


def split(
    num_images: int, held_out: int, seed: int, duplicates: Iterable[Sequence[int]] = ()
) -> Split:
    """Hold out random images; the split is a function of the arguments.

    Args:
        num_images: number of images in the data set.
        held_out: number of images to hold out, at least 1 and fewer than there are.
        seed: of the random permutation.
        duplicates: groups of images that are near-duplicates of each other. Where one of a group
            is held out, the others are not trained on.

    Raises:
        UserError: held_out is out of range, or no image is left to train on.
    """
    if held_out < 1:
        raise UserError(f"data.held_out={held_out}: too few; hold out at least one image")
    order = np.random.default_rng(seed).permutation(num_images)
    held, others = order[:held_out], order[held_out:]
    is_held = np.zeros(num_images, bool)
    is_held[held] = True
    left = [i for group in duplicates if is_held[group].any() for i in group if not is_held[i]]
    train = np.setdiff1d(others, left)
    if not len(train):
        raise UserError(
            f"data.held_out={held_out}: there are {num_images} images, so none would be left to "
            "train on; give more images, or hold out fewer"
        )
    return Split(train, np.sort(held), np.unique(np.array(left, int)))
