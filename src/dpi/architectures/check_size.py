"""The constraint of both networks on the size of an image."""

from torch import Tensor


def check_size(x: Tensor, stride: int) -> None:
    """Check that images can be downsampled to the coarsest level.

    Args:
        x: images, shape (B, C, H, W).
        stride: the total downsampling factor.

    Raises:
        ValueError: H or W is not divisible by the stride.
    """
    height, width = x.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f"images of {height}x{width} cannot be downsampled to the coarsest level: "
            f"height and width must be multiples of {stride}"
        )
