"""Every picture is decoded once, into an array on disk that all runs share."""

import errno
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dpi.errors import UserError


class Source(Protocol):
    """Where pictures come from."""

    image_size: int

    @property
    def fingerprint(self) -> str:
        """Hexadecimal; another set of pictures, or another size, has another one."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> np.ndarray:
        """Picture i: (3, image_size, image_size) uint8, RGB."""


def memory_map(source: Source, cache_dir: Path, name: str) -> np.ndarray:
    """Decode a source, or find it decoded.

    The array takes its place in the cache when it is whole: an interruption leaves nothing
    behind, and two processes may do this at once.

    Args:
        source: the pictures.
        cache_dir: where decoded sets lie.
        name: the first part of the file's name, for people.

    Returns:
        (N, 3, H, W) uint8, read-only, mapped into memory.

    Raises:
        UserError: a picture that cannot be used, or a full disk.
    """
    shape = (len(source), 3, source.image_size, source.image_size)
    path = cache_dir / f"{name}-{source.image_size}-{source.fingerprint[:12]}.npy"
    pictures = _mapped(path, shape)
    if pictures is not None:
        return pictures
    partial = None
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=cache_dir, prefix=f"{name}-", suffix=".partial")
        with os.fdopen(handle, "wb") as file:
            _write(source, shape, file)
        os.replace(partial, path)
    except OSError as error:
        needed = np.prod(shape, dtype=np.int64) / 1e6
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else str(error)
        raise UserError(
            f"{path} could not be written: {reason}; {needed:.0f} MB are needed, elsewhere with "
            "data.cache_dir="
        ) from None
    finally:
        if partial:
            Path(partial).unlink(missing_ok=True)
    return _mapped(path, shape)


def _write(source: Source, shape: tuple[int, ...], file) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    bar = tqdm(_decoded(source), total=len(source), desc="Reading pictures", unit="picture")
    for picture in bar:
        file.write(np.ascontiguousarray(picture).data)


def _decoded(source: Source, ahead: int = 1024) -> Iterator[np.ndarray]:
    # In slices, so that a set larger than the memory can be read.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(source), ahead):
            yield from pool.map(source.__getitem__, range(first, min(first + ahead, len(source))))


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        pictures = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return pictures if pictures.shape == shape and pictures.dtype == np.uint8 else None
