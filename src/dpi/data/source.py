"""The interface of an image data set."""

from typing import Protocol

import numpy as np


class Source(Protocol):
    """A data set of square images, read by index. Any class with these members is one."""

    image_size: int
    """Height and width of the images in pixels."""

    image_channels: int
    """Number of channels: 3 for RGB, 1 for greyscale."""

    @property
    def fingerprint(self) -> str:
        """A hexadecimal hash, at least 12 digits, of the images, their size and channels."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Called from several threads.

        Raises:
            UserError: the image cannot be used; the message names it.
        """
