"""Features that need no download: pixels, and a network of fixed random weights."""

import hashlib
from itertools import pairwise

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from dpi.data import to_unit
from dpi.evaluation.features import Features

SIDE = 16
"""Larger images are averaged down to SIDE x SIDE, so that their covariance has 768 rows at most."""

CHANNELS = (32, 64, 128)
"""Of the layers of the random network."""


class Pixels:
    """An image's pixels, in [-1, 1].

    Args:
        image_size: H = W.
        image_channels: C.
    """

    name = "pixels"
    is_inception = False

    def __init__(self, image_size: int, image_channels: int = 3) -> None:
        self.side = min(image_size, SIDE)
        self.size = image_channels * self.side**2
        self.weights = f"{self.side}x{self.side}"

    def __call__(self, images: np.ndarray) -> Features:
        """(B, H, W, C) uint8 images to features."""
        x = F.adaptive_avg_pool2d(_batch(images), self.side)
        return Features(x.flatten(1).numpy(), None, None)


class RandomNetwork:
    """Three 3x3 convolutions with stride 2, each followed by a ReLU; the features are the mean and
    the maximum of every channel of every layer.

    Random networks are what Naeem et al. (2020) use for images that ImageNet has none of. Kernels
    are normal with variance 2 / fan-in, from the generator of NumPy whose numbers never change.

    Args:
        device: where it runs.
        image_channels: C.
    """

    name = "random"
    is_inception = False
    size = 2 * sum(CHANNELS)

    def __init__(self, device: str | torch.device = "cpu", image_channels: int = 3) -> None:
        normal = np.random.RandomState(0).standard_normal
        kernels = [
            (normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5).astype(np.float32)
            for inputs, outputs in pairwise((image_channels, *CHANNELS))
        ]
        self.weights = hashlib.sha256(b"".join(map(np.ndarray.tobytes, kernels))).hexdigest()[:8]
        self._kernels = [torch.from_numpy(kernel).to(device) for kernel in kernels]

    def __call__(self, images: np.ndarray) -> Features:
        """(B, H, W, C) uint8 images to features."""
        x = _batch(images).to(self._kernels[0].device)
        pooled = []
        with torch.backends.cudnn.flags(allow_tf32=False):
            for kernel in self._kernels:
                x = F.conv2d(x, kernel, stride=2, padding=1).relu()
                pooled += [x.mean(dim=(2, 3)), x.amax(dim=(2, 3))]
        return Features(torch.cat(pooled, dim=1).cpu().numpy(), None, None)


def _batch(images: np.ndarray) -> Tensor:
    return to_unit(rearrange(torch.from_numpy(images), "b h w c -> b c h w"))
