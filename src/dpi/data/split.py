"""The split into training images and held-out images."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dpi.errors import UserError

MOST = 1000
"""Images that are held out where no number is given, as in the paper; a tenth of fewer."""


class Split(NamedTuple):
    """Sorted indices, int64, disjoint and together complete."""

    train: np.ndarray
    held_out: np.ndarray
    left_out: np.ndarray
    """Near-duplicates of held-out images, which are in neither."""


def split(
    num_images: int,
    held_out: float | None,
    seed: int,
    duplicates: Iterable[Sequence[int]] = (),
) -> Split:
    """Hold out random images; the split is a function of the arguments.

    Args:
        num_images: number of images in the data set.
        held_out: number of images to hold out, or, below 1, their share; None for a tenth of
            them, and 1,000 at most.
        seed: of the random permutation.
        duplicates: groups of images that are near-duplicates of each other. Where one of a group
            is held out, the others are not trained on.

    Raises:
        UserError: held_out is neither a share nor a whole number, or no image is left to train on.
    """
    count = _count(num_images, held_out)
    order = np.random.default_rng(seed).permutation(num_images)
    held, others = order[:count], order[count:]
    is_held = np.zeros(num_images, bool)
    is_held[held] = True
    left = [i for group in duplicates if is_held[group].any() for i in group if not is_held[i]]
    train = np.setdiff1d(others, left)
    if not len(train):
        raise UserError(
            f"data.held_out={held_out or count}: there are {num_images} images, so none would be "
            "left to train on; give more images, or hold out fewer"
        )
    return Split(train, np.sort(held), np.unique(np.array(left, int)))


def _count(num_images: int, held_out: float | None) -> int:
    if held_out is None:
        return min(MOST, max(1, num_images // 10))
    if held_out <= 0:
        raise UserError(f"data.held_out={held_out}: too few; hold out at least one image")
    if held_out < 1:
        return max(1, round(held_out * num_images))
    if not isinstance(held_out, int):
        raise UserError(f"data.held_out={held_out}: give a whole number, or a share below 1")
    return held_out
