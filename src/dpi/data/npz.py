"""Images and statistics in .npz files, as guided-diffusion reads and writes them."""

import hashlib
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from dpi.atomic import atomic
from dpi.errors import UserError


class Npz:
    """The images in an .npz file: array `arr_0`, uint8, shape
    (N, image_size, image_size, image_channels).

    Args:
        path: the file.
        image_size: height and width that the images must have, in pixels.
        image_channels: channels that they must have.

    Raises:
        UserError: the file or the array is missing, or the array has another shape or dtype.
    """

    def __init__(self, path: str | Path, image_size: int, image_channels: int = 3) -> None:
        self.path = Path(path)
        self.image_size, self.image_channels = image_size, image_channels
        arrays = read_npz(self.path, ["arr_0"])
        if not arrays:
            raise UserError(f"{self.path} has no array arr_0")
        self._images = arrays["arr_0"]
        found = (self._images.dtype, *self._images.shape[1:])
        if found != (np.dtype(np.uint8), image_size, image_size, image_channels):
            raise UserError(
                f"{self.path} contains {self._images.dtype} of shape {self._images.shape}, not "
                f"uint8 of shape N x {image_size} x {image_size} x {image_channels}; set "
                "image_size= and image_channels= to what it holds"
            )

    def __len__(self) -> int:
        return len(self._images)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the pixels."""
        return hashlib.sha256(self._images.tobytes()).hexdigest()

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8."""
        return self._images[i].transpose(2, 0, 1)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays from an .npz file, without unpickling.

    Args:
        path: the file.
        names: the arrays to read.

    Returns:
        Those of the arrays that the file contains.

    Raises:
        UserError: the file does not exist or cannot be read.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):  # a pipe would wait for its writer
        what = "is not an .npz file" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file}
    except Exception as error:  # damaged and encrypted files raise many types
        line = " ".join(str(error).split())
        if "allow_pickle" in line:
            line = "it holds Python objects, which can hold code"
        raise UserError(f"{path} cannot be read as an .npz file: {line}") from None


def kept_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """As `read_npz`, of a file that may be missing or damaged: nothing then."""
    try:
        return read_npz(path, names)
    except UserError:
        return {}


def save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz file atomically.

    Args:
        path: the file.
        arrays: its arrays by name.

    Raises:
        UserError: it cannot be written; an existing file is unchanged.
    """
    with atomic(path) as file:
        np.savez(file, **arrays)
