"""Images in a folder or a zip, including the zips of EDM and StyleGAN with their dataset.json."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dpi.data.npz import ZIP_ERRORS
from dpi.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError),
    *ZIP_ERRORS,
)
"""What Pillow and zipfile raise for a file that is damaged, encrypted or too large."""

LOSSLESS = ("utf-8", "surrogateescape")
"""The encoding of names that may not be UTF-8."""


class Folder:
    """All images below a folder or in a zip, sorted by name.

    Larger images are center-cropped to a square and resized (Lanczos). Other files and hidden
    files are ignored.

    Args:
        path: a folder or a zip.
        image_size: height and width of the returned images, in pixels.
        missing: advice for the error message when path does not exist; None for the default.

    Raises:
        UserError: path does not exist, contains no image, or is not a valid zip.
    """

    def __init__(self, path: str | Path, image_size: int, missing: str | None = None) -> None:
        self.path = Path(path)
        self.image_size = image_size
        if not self.path.exists():
            hint = missing or "give data.path=, a folder or a zip of images"
            raise UserError(f"{self.path} does not exist; {' '.join(hint.split())}")
        self._zip = None if self.path.is_dir() else _open_zip(self.path)
        names = self._zip.namelist() if self._zip else _files_below(self.path)
        self.names = sorted(name for name in names if _is_image(name))
        if not self.names:
            raise UserError(f"{self.path} is empty: it contains no image ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names and checksums in a zip, or of names, sizes and times in a folder."""
        digest = hashlib.sha256(str(self.image_size).encode())
        for name in self.names:
            if self._zip:
                digest.update(f"{name} {self._zip.getinfo(name).CRC}\n".encode(*LOSSLESS))
            else:
                stat = (self.path / name).stat()
                line = f"{name} {stat.st_size} {stat.st_mtime_ns}\n"
                digest.update(line.encode(*LOSSLESS))
        return digest.hexdigest()

    def read(self, i: int) -> bytes:
        """The bytes of file i."""
        return (
            self._zip.read(self.names[i]) if self._zip else (self.path / self.names[i]).read_bytes()
        )

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (3, image_size, image_size), uint8.

        Raises:
            UserError: the file is corrupt, not RGB, or smaller than image_size.
        """
        where = f"{self.path}/{self.names[i]}"
        try:
            image = Image.open(io.BytesIO(self.read(i)))
            image.load()
        except UnidentifiedImageError:
            raise UserError(f"{where} cannot be read as an image: it is none") from None
        except UNREADABLE as error:
            line = " ".join(str(error).split())
            raise UserError(f"{where} cannot be read as an image: {line}") from None
        if image.mode != "RGB":
            raise UserError(
                f"{where} is not RGB but {image.mode}; convert it, or remove it from the data set"
            )
        if min(image.size) < self.image_size:
            raise UserError(
                f"{where} is {image.width}x{image.height}, smaller than image_size="
                f"{self.image_size}; remove it from the data set, or choose a smaller image_size"
            )
        return np.asarray(_crop_and_resize(image, self.image_size)).transpose(2, 0, 1)


def _crop_and_resize(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _is_image(name: str) -> bool:
    parts = Path(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _files_below(folder: Path) -> Iterable[str]:
    return (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError):
        raise UserError(f"{path} is neither a folder nor a valid zip") from None
