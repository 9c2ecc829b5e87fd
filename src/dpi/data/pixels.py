"""Conversion between uint8 images and the range [-1, 1] of the networks."""

from typing import TYPE_CHECKING

import numpy as np

from dpi.errors import UserError

if TYPE_CHECKING:  # importing torch takes seconds
    from torch import Tensor


def to_unit(images: "Tensor") -> "Tensor":
    """Convert uint8 images of any shape to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(x: "Tensor") -> np.ndarray:
    """Convert network outputs to images, rounded to the nearest integer.

    Args:
        x: shape (B, C, H, W), on any device; values outside [-1, 1] are clipped.

    Returns:
        Shape (B, H, W, C), uint8.

    Raises:
        UserError: a value is not finite, which would be black.
    """
    x = x.cpu()  # the one wait for a GPU
    if not x.isfinite().all():
        raise UserError("samples are not finite: the training diverged, or the solver does")
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()
    return x.permute(0, 2, 3, 1).numpy()
