"""Decode a data set once, into a memory-mapped array on disk that all runs share."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dpi.atomic import atomic, check_space
from dpi.data.source import Source, read_image
from dpi.errors import UserError
from dpi.progress import Progress

NAMED = 10
"""Images that cannot be used, in one message."""


def memory_map(source: Source, cache_dir: Path, name: str) -> np.ndarray:
    """Decode all images of a source, or load them from the cache.

    The file is written under a temporary name and renamed once complete. An interruption leaves
    no file behind, and two processes may write at the same time.

    Args:
        source: the images.
        cache_dir: folder of the cache.
        name: prefix of the file's name, to make it recognizable.

    Returns:
        Shape (N, C, H, W), uint8, read-only, memory-mapped.

    Raises:
        UserError: images that cannot be used, or a cache that cannot be written.
    """
    shape = (len(source), source.image_channels, source.image_size, source.image_size)
    path = cache_dir / f"{name}-{source.image_size}-{source.fingerprint[:12]}.npy"
    images = _load(path, shape)
    if images is not None:
        return images
    hint = "; give another folder for the cache of images, with DPI_CACHE= in the environment"
    check_space(cache_dir, math.prod(shape), str(path), hint)
    with atomic(path, hint) as file:
        _write(source, shape, file)
    return _load(path, shape)


def _write(source: Source, shape: tuple[int, ...], file: BinaryIO) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    bar = Progress(_decode(source), total=len(source), desc="Reading images", unit="image")
    for image in bar:
        file.write(np.ascontiguousarray(image).data)


def _decode(source: Source, chunk: int = 1024) -> Iterator[np.ndarray]:
    # In chunks, so that the set need not fit in memory.
    refused: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(source), chunk):
            places = range(first, min(first + chunk, len(source)))
            for image in pool.map(partial(_read, source), places):
                if isinstance(image, UserError):
                    refused.append(str(image))
                else:
                    yield image
            if refused:
                raise UserError(_together(refused, places.stop))


def _read(source: Source, i: int) -> np.ndarray | UserError:
    try:
        return read_image(source, i)
    except UserError as error:
        return error


def _together(errors: list[str], read: int) -> str:
    """The reason of each, and then what to do, each advice once."""
    if len(errors) == 1:
        return errors[0]
    reasons, _, advice = zip(*(error.partition("; ") for error in errors[:NAMED]), strict=True)
    said = f"{len(errors)} of the first {read} images cannot be used: {', '.join(reasons)}"
    return "; ".join([said, *filter(None, dict.fromkeys(advice))])


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached array, or None if the file is missing or invalid."""
    try:
        images = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None
