"""Which pictures are trained on, and which are held out."""

import numpy as np

from dpi.errors import UserError


def split(num_pictures: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold some pictures out, always the same ones for the same numbers.

    Returns:
        (train, held_out): sorted indices, int64, every picture in one of them.

    Raises:
        UserError: there are not more pictures than are held out, or none is.
    """
    if held_out < 1:
        raise UserError(f"data.held_out={held_out}: hold out at least one picture")
    if num_pictures <= held_out:
        raise UserError(
            f"too few pictures: there are {num_pictures}, and data.held_out={held_out} of them "
            "would not be trained on; give more, or hold out fewer"
        )
    order = np.random.default_rng(seed).permutation(num_pictures)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
