"""Images in a folder or a zip, including the zips of EDM and StyleGAN with their dataset.json."""

import io
import zipfile
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dpi.data.content import files_below, hash_contents, hash_lines, hash_stamps
from dpi.data.prepare import decoding, prepare
from dpi.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


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
        cache_dir: where the fingerprint of a folder is kept; None to read its files each time.

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
        cache_dir: str | Path | None = None,
    ) -> None:
        self.path, self.cache_dir = Path(path), cache_dir and Path(cache_dir)
        self.image_size, self.image_channels, self.convert = image_size, image_channels, convert
        if not self.path.exists():
            hint = missing or "give data.path=, a folder or a zip of images"
            raise UserError(f"{self.path} does not exist; {' '.join(hint.split())}")
        self._zip = None if self.path.is_dir() else _open_zip(self.path)
        names = self._zip.namelist() if self._zip else files_below(self.path)
        self.names = sorted(name for name in names if _is_image(name))
        if not self.names:
            raise UserError(f"{self.path} is empty: it contains no image ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of image_size, image_channels and convert, and of each file's name and CRC-32.

        A folder and a zip of the same files have the same one, and so has a copy with other
        modification times. Files are read once, see `hash_contents`; a zip holds their CRC-32.
        """
        if self._zip is None:
            return hash_contents(self._how, self.path, self.names, self.cache_dir)
        sums = (self._zip.getinfo(name).CRC for name in self.names)
        return hash_lines(self._how, map("{} {}".format, self.names, sums))

    @property
    def earlier_fingerprint(self) -> str | None:
        """What runs up to commit 22e8b71 recorded of a folder: names, sizes and times."""
        return None if self._zip else hash_stamps(self._how, self.path, self.names)

    @property
    def _how(self) -> str:
        if (self.image_channels, self.convert) == (3, False):
            return str(self.image_size)
        return f"{self.image_size} {self.image_channels} {self.convert}\n"

    def read(self, i: int) -> bytes:
        """The bytes of file i."""
        name = self.names[i]
        return self._zip.read(name) if self._zip else (self.path / name).read_bytes()

    def open(self, i: int) -> Image.Image:
        """Image i as its file holds it, turned as its EXIF orientation says.

        Raises:
            UserError: the file is corrupt.
        """
        with decoding(f"{self.path}/{self.names[i]}"):
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(self.read(i))))
            image.load()
        return image

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Raises:
            UserError: the file is corrupt, of another mode, or smaller than image_size.
        """
        where = f"{self.path}/{self.names[i]}"
        return prepare(self.open(i), where, self.image_size, self.image_channels, self.convert)


def _is_image(name: str) -> bool:
    parts = Path(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError):
        raise UserError(f"{path} is neither a folder nor a valid zip") from None
