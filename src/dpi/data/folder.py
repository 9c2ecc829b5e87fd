"""Pictures in a folder or in a zip, also EDM's and StyleGAN's zips with their dataset.json."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dpi.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Folder:
    """The pictures below a folder, or in a zip, in the order of their names.

    Larger pictures are cropped to their central square and shrunk (Lanczos). Files that are no
    pictures are passed over, and so are hidden ones.

    Args:
        path: a folder or a zip.
        image_size: side of the pictures to give, in pixels.
        missing: what to say, in place of the plain words, when there is nothing at path.

    Raises:
        UserError: there is nothing at path, no picture in it, or the zip is none.
    """

    def __init__(self, path: str | Path, image_size: int, missing: str | None = None) -> None:
        self.path = Path(path)
        self.image_size = image_size
        if not self.path.exists():
            hint = missing or "give data.path=, a folder or a zip of pictures"
            raise UserError(f"there are no pictures at {self.path}: {' '.join(hint.split())}")
        self._zip = None if self.path.is_dir() else _open_zip(self.path)
        names = self._zip.namelist() if self._zip else _files_below(self.path)
        self.names = sorted(name for name in names if _is_picture(name))
        if not self.names:
            raise UserError(f"{self.path} is empty: it holds no picture ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a picture does: from names and checksums, or names, sizes and dates."""
        digest = hashlib.sha256(str(self.image_size).encode())
        for name in self.names:
            if self._zip:
                digest.update(f"{name} {self._zip.getinfo(name).CRC}\n".encode())
            else:
                stat = (self.path / name).stat()
                digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def read(self, i: int) -> bytes:
        """File i as it is."""
        return (
            self._zip.read(self.names[i]) if self._zip else (self.path / self.names[i]).read_bytes()
        )

    def __getitem__(self, i: int) -> np.ndarray:
        """Picture i: (3, image_size, image_size) uint8.

        Raises:
            UserError: it is corrupt, not RGB, or smaller than image_size; says which file.
        """
        where = f"{self.path}/{self.names[i]}"
        try:
            picture = Image.open(io.BytesIO(self.read(i)))
            picture.load()
        except (
            OSError,
            SyntaxError,
            ValueError,
            zipfile.BadZipFile,
            Image.DecompressionBombError,
            UnidentifiedImageError,
        ) as error:
            line = " ".join(str(error).split())
            raise UserError(f"{where} cannot be read as a picture: {line}") from None
        if picture.mode != "RGB":
            raise UserError(
                f"{where} is not RGB but {picture.mode}: convert it, or take it out of the set"
            )
        if min(picture.size) < self.image_size:
            raise UserError(
                f"{where} is {picture.width}x{picture.height}, smaller than image_size="
                f"{self.image_size}: take it out of the set, or choose a smaller image_size"
            )
        return np.asarray(_shrink(picture, self.image_size)).transpose(2, 0, 1)


def _shrink(picture: Image.Image, size: int) -> Image.Image:
    if picture.size == (size, size):
        return picture
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _is_picture(name: str) -> bool:
    parts = Path(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _files_below(folder: Path) -> Iterable[str]:
    return (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise UserError(f"{path} is neither a folder nor a whole zip") from None
