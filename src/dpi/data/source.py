"""The interface of an image data set."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    has, asked = (source.image_size, source.image_channels), (image_size, image_channels)
    if has != asked:
        raise UserError(
            f"data.source: {name} has image_size={has[0]} and image_channels={has[1]}, and "
            f"{asked[0]} and {asked[1]} are asked for: give what it has"
        )
    if not re.fullmatch("[0-9a-f]{12,}", str(source.fingerprint)):
        raise UserError(
            f"data.source: {name}.fingerprint is {source.fingerprint!r}, not 12 or more "
            "hexadecimal digits: use hashlib.sha256(...).hexdigest()"
        )


NAMED = 10
"""Images that cannot be used, in one message."""

CHUNK = 1024
"""Images that are decoded ahead, so that a data set need not fit into memory."""


def decode(source: Source) -> Iterator[np.ndarray | UserError]:
    """All images of a data set in order; an error in the place of one that cannot be used."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(source), CHUNK):
            places = range(first, min(first + CHUNK, len(source)))
            yield from pool.map(partial(_read, source), places)


def listed(errors: Sequence[str]) -> str:
    """The reasons of errors, of many the first, without their advice."""
    reasons = [error.partition("; ")[0] for error in errors[:NAMED]]
    return ", ".join(reasons) + f", and {len(errors) - NAMED} more" * (len(errors) > NAMED)


def _read(source: Source, i: int) -> np.ndarray | UserError:
    try:
        image = np.asarray(source[i])
    except UserError as error:
        return error
    shape = (source.image_channels, source.image_size, source.image_size)
    if image.shape != shape or image.dtype != np.uint8:
        return UserError(
            f"data.source: image {i} of {type(source).__name__} is {image.dtype} of shape "
            f"{image.shape}, not uint8 of shape {shape}"
        )
    return image
