"""The split into training images and held-out images."""

import numpy as np

from dpi.errors import UserError


def split(num_images: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out random images; the split is a function of the three arguments.

    Args:
        num_images: number of images in the data set.
        held_out: number of images to hold out, at least 1 and fewer than there are.
        seed: of the random permutation.

    Returns:
        (train, held_out): sorted indices, int64, disjoint and together complete.

    Raises:
        UserError: held_out is out of range.
    """
    if held_out < 1:
        raise UserError(f"data.held_out={held_out}: too few; hold out at least one image")
    if num_images <= held_out:
        raise UserError(
            f"data.held_out={held_out}: there are {num_images} images, so none would be left to "
            "train on; give more images, or hold out fewer"
        )
    order = np.random.default_rng(seed).permutation(num_images)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
