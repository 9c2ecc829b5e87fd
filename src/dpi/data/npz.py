"""Pictures in guided-diffusion's sample files."""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from dpi.errors import UserError


class Npz:
    """`arr_0` of an .npz file: uint8, N x image_size x image_size x 3.

    Args:
        path: the file.
        image_size: the side that its pictures must have, in pixels.

    Raises:
        UserError: there is no such file, no such array in it, or one of another kind.
    """

    def __init__(self, path: str | Path, image_size: int) -> None:
        self.path = Path(path)
        self.image_size = image_size
        if not self.path.is_file():
            raise UserError(f"there is no file {self.path}: give data.path=, an .npz of pictures")
        arrays = read_npz(self.path, ["arr_0"])
        if not arrays:
            raise UserError(f"{self.path} holds no array arr_0")
        self._pictures = arrays["arr_0"]
        found = (self._pictures.dtype, *self._pictures.shape[1:])
        if found != (np.dtype(np.uint8), image_size, image_size, 3):
            raise UserError(
                f"{self.path} holds {self._pictures.dtype} of shape {self._pictures.shape}, not "
                f"uint8 of shape N x {image_size} x {image_size} x 3"
            )

    def __len__(self) -> int:
        return len(self._pictures)

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self._pictures.tobytes()).hexdigest()

    def __getitem__(self, i: int) -> np.ndarray:
        """Picture i: (3, image_size, image_size) uint8."""
        return self._pictures[i].transpose(2, 0, 1)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the arrays that an .npz holds; UserError where it is none. Runs no code."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as an .npz: {line}") from None


def save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz, whole or not at all.

    Raises:
        UserError: it cannot be written; what was there before is still there.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} could not be written, is the disk full? ({error})") from None
    finally:
        partial.unlink(missing_ok=True)
