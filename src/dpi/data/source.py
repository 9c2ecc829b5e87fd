"""The interface of an image data set."""

from typing import Protocol

import numpy as np


class Source(Protocol):
    """A data set of square RGB images, read by index. Any class with these members is one."""

    image_size: int
    """Height and width of the images in pixels."""

    @property
    def fingerprint(self) -> str:
        """A hexadecimal hash that changes with the images or their size; at least 12 digits."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (3, image_size, image_size), uint8. Called from several threads.

        Raises:
            UserError: the image cannot be used; the message names it.
        """
