"""Images in a folder or a zip, including the zips of EDM and StyleGAN with their dataset.json."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dpi.data.npz import ZIP_ERRORS
from dpi.data.prepare import prepare
from dpi.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError),
    *ZIP_ERRORS,
)
"""What Pillow and zipfile raise for a file that is damaged, encrypted or too large."""

ADVICE = "remove it from the data set"

LOSSLESS = ("utf-8", "surrogateescape")
"""The encoding of names that may not be UTF-8."""


class Folder:
    """All images below a folder or in a zip, sorted by name.

    Larger images are center-cropped to a square and resized (Lanczos), after they are turned as
    their EXIF orientation says. Other files and hidden files are ignored.

    Args:
        path: a folder or a zip.
        image_size: height and width of the returned images, in pixels.
        image_channels: of the returned images: 1 (L), 2 (LA), 3 (RGB) or 4 (RGBA).
        convert: whether images of other modes are converted, see `dpi.data.prepare.to_mode`.
        missing: advice for the error message when path does not exist; None for the default.

    Raises:
        UserError: path does not exist, contains no image, or is not a valid zip.
    """

    def __init__(
        self,
        path: str | Path,
        image_size: int,
        image_channels: int = 3,
        convert: bool = False,
        missing: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.image_size, self.image_channels, self.convert = image_size, image_channels, convert
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
        how = str(self.image_size)
        if (self.image_channels, self.convert) != (3, False):
            how = f"{how} {self.image_channels} {self.convert}\n"
        digest = hashlib.sha256(how.encode())
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
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Raises:
            UserError: the file is corrupt, of another mode, or smaller than image_size.
        """
        where = f"{self.path}/{self.names[i]}"
        try:
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(self.read(i))))
            image.load()
        except UnidentifiedImageError:
            raise UserError(f"{where} cannot be read as an image: it is none; {ADVICE}") from None
        except UNREADABLE as error:
            line = " ".join(str(error).split())
            raise UserError(f"{where} cannot be read as an image: {line}; {ADVICE}") from None
        return prepare(image, where, self.image_size, self.image_channels, self.convert)


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
