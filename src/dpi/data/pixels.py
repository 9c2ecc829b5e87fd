"""Pictures as they are kept, bytes, and as networks see them, floats in [-1, 1]."""

import numpy as np
from einops import rearrange
from torch import Tensor


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 pictures to float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def to_uint8(x: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] to (B, H, W, 3) uint8, rounded; values outside are clipped."""
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()
    return rearrange(x, "b c h w -> b h w c").cpu().numpy()
