"""Decode a data set once, into a memory-mapped array on disk that all runs share."""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dpi.atomic import atomic, check_space
from dpi.data.source import Source, decode, listed
from dpi.errors import UserError
from dpi.progress import Progress


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
    refused: list[str] = []
    for image in Progress(decode(source), "Reading images", len(source), unit="image"):
        if isinstance(image, UserError):
            refused.append(str(image))
        elif not refused:
            file.write(np.ascontiguousarray(image).data)
    if refused:
        said = f"{len(refused)} of {len(source)} images cannot be used: {listed(refused)}"
        advice = [error.partition("; ")[2] for error in refused]
        ways = [way for each in advice for way in each.split(", or ") if way]
        ways += ["remove them from the data set"]
        ways += ["leave them out with data.skip_broken=true"] * hasattr(source, "skip_broken")
        raise UserError(f"{said}; {', or '.join(dict.fromkeys(ways))}")


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached array, or None if the file is missing or invalid."""
    try:
        images = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None
