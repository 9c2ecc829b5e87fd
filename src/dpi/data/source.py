"""The interface of an image data set."""

import re
from typing import Protocol

import numpy as np

from dpi.errors import UserError
from dpi.protocol import check_protocol


class Source(Protocol):
    """A data set of square images, read by index. Any class with these members is one."""

    image_size: int
    """Height and width of the images in pixels."""

    image_channels: int
    """Number of channels: 3 for RGB, 1 for greyscale."""

    @property
    def fingerprint(self) -> str:
        """A hexadecimal hash, at least 12 digits, of the images, their size and channels: runs with
        the same one have the same images."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Called from several threads.

        Raises:
            UserError: the image cannot be used; the message names it.
        """


def check_source(source: object, image_size: int, image_channels: int) -> None:
    """Check what can be said of a data set before any of its images is read.

    Args:
        source: an instance of a class that may be the user's own.
        image_size, image_channels: of the images that are asked for.

    Raises:
        UserError: it is not a `Source`, has images of another size or number of channels, or a
            fingerprint that is none.
    """
    check_protocol(source, Source, "data.source")
    name = type(source).__name__
    if source.image_size != image_size:
        raise UserError(
            f"data.source: {name} has images of {source.image_size} pixels and image_size="
            f"{image_size} is asked for: give it image_size: ${{image_size}}"
        )
    if source.image_channels != image_channels:
        raise UserError(
            f"data.source: {name} has images of {source.image_channels} channels: give "
            f"image_channels={source.image_channels}, not {image_channels}"
        )
    if not re.fullmatch("[0-9a-f]{12,}", str(source.fingerprint)):
        raise UserError(
            f"data.source: {name}.fingerprint is {source.fingerprint!r}, not 12 or more "
            "hexadecimal digits: use hashlib.sha256(...).hexdigest()"
        )


def has_fingerprint(source: Source, recorded: str) -> bool:
    """Whether a run that recorded this fingerprint has the images of this source."""
    return recorded in (source.fingerprint, getattr(source, "earlier_fingerprint", None))


def read_image(source: Source, i: int) -> np.ndarray:
    """Image i of a data set.

    Returns:
        Shape (image_channels, image_size, image_size), uint8.

    Raises:
        UserError: it has another shape or dtype, or cannot be used.
    """
    image = np.asarray(source[i])
    shape = (source.image_channels, source.image_size, source.image_size)
    if image.shape != shape or image.dtype != np.uint8:
        raise UserError(
            f"data.source: image {i} of {type(source).__name__} is {image.dtype} of shape "
            f"{image.shape}, not uint8 of shape {shape}"
        )
    return image
