"""A data set of your own: coloured discs.

PYTHONPATH=examples/extending python train.py --config-dir examples/extending/configs \
    data=discs scale=mini
"""

import hashlib

import numpy as np


class Discs:
    """A disc on a background, both of random colours; see `dpi.data.Source`.

    Args:
        count: number of images.
        image_size: height and width in pixels.
        seed: image i is a function of (seed, i).
    """

    image_channels = 3

    def __init__(self, count: int, image_size: int, seed: int = 0) -> None:
        self.count, self.image_size, self.seed = count, image_size, seed

    @property
    def fingerprint(self) -> str:
        """Of all that the images depend on. Of files, it would be of their contents."""
        key = f"discs {self.count} {self.image_size} {self.seed}"
        return hashlib.sha256(key.encode()).hexdigest()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (3, image_size, image_size), uint8."""
        rng = np.random.default_rng((self.seed, i))
        pixels = (np.arange(self.image_size) + 0.5) / self.image_size
        (x, y), radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.3)
        inside = (pixels - x) ** 2 + (pixels[:, None] - y) ** 2 < radius**2
        colour, background = rng.integers(0, 256, (2, 3, 1, 1), np.uint8)
        return np.where(inside, colour, background)
