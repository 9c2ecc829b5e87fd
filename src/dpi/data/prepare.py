"""From a decoded image to uint8 pixels of the configured size and number of channels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dpi.errors import UserError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's name for images of so many channels; A is alpha."""

CONVERTED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""The modes of 8 bits a channel or fewer that Pillow converts to any of MODES."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""What is opened, whatever a file is called; some of Pillow's other formats start programs."""

MOST_PIXELS = 178_956_970
"""Of an image, unless more are admitted: what Pillow refuses."""

_LOCK, _LIMITS = Lock(), []


def open_image(content: bytes, max_pixels: int = MOST_PIXELS) -> Image.Image:
    """The image in a file, turned as its EXIF orientation says; of several pages the first."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ValueError(f"it has {pixels:,} pixels; admit them with data.max_pixels={pixels}")
    image = ImageOps.exif_transpose(image)
    image.load()
    return image


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """Around the decoding of an image, which `where` names: what cannot be read is a UserError,
    since damaged files raise whatever their decoder stumbles over. Each data set has its own limit
    of pixels; Pillow's, which is the whole process's, is put aside."""
    with _LOCK:
        _LIMITS.append(Image.MAX_IMAGE_PIXELS)  # its own below those of threads that came later
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        none = isinstance(error, UnidentifiedImageError)
        line = f"it is no {', '.join(FORMATS)}" if none else " ".join(str(error).split())
        raise UserError(f"{where} cannot be read as an image: {line}") from None
    finally:
        with _LOCK:
            Image.MAX_IMAGE_PIXELS = _LIMITS.pop()


def prepare(
    image: Image.Image, where: str, image_size: int, image_channels: int, convert: bool
) -> np.ndarray:
    """Center-crop an image to a square and resize it (Lanczos), if it is larger than that.

    Args:
        image: decoded.
        where: what messages call it.
        image_size: height and width of the result, in pixels.
        image_channels: C, 1 to 4.
        convert: whether an image of another mode is converted, see `to_mode`.

    Returns:
        Shape (C, image_size, image_size), uint8.

    Raises:
        UserError: the image is of another mode and must not or cannot be converted, or it is
            smaller than image_size.
    """
    mode = MODES[image_channels]
    if image.mode != mode:
        if not convert:
            raise UserError(f"{where} is not {mode} but {image.mode}; {_advice(image.mode)}")
        image = to_mode(image, mode, where)
    if min(image.size) < image_size:
        raise UserError(
            f"{where} is {image.width}x{image.height}, smaller than image_size="
            f"{image_size}; choose a smaller image_size"
        )
    pixels = np.asarray(_crop_and_resize(image, image_size))
    return pixels.reshape(image_size, image_size, image_channels).transpose(2, 0, 1)


def to_mode(image: Image.Image, mode: str, where: str) -> Image.Image:
    """Convert an image as Pillow does, with two exceptions: where the mode has no alpha, the image
    is composited on white; and 16-bit greyscale is scaled, v / 257. Colour profiles are ignored.

    Args:
        image: of any mode.
        mode: one of MODES.
        where: what messages call the image.

    Raises:
        UserError: it has values whose range is not known, or that Pillow does not convert.
    """
    if image.mode.startswith("I;16") and not image.has_transparency_data:
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if image.mode not in CONVERTED:
        raise UserError(
            f"{where} is {image.mode}, which data.convert=true does not convert; do so yourself"
        )
    if image.has_transparency_data and "A" not in mode:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image.convert(mode)


def _advice(mode: str) -> str:
    channels = [channels for channels, known in MODES.items() if mode == known]
    own = f", or set image_channels={channels[0]} if all are {mode}" if channels else ""
    return f"convert them with data.convert=true{own}"


def _crop_and_resize(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Not Image.crop, which has Pillow's limit.
    square = np.asarray(image)[top : top + side, left : left + side]
    return Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS)
