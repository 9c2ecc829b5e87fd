"""Images in a folder or a zip, including the zips of EDM and StyleGAN with their dataset.json."""

import json
import os
import sys
import zipfile
import zlib
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from dpi.atomic import atomic_write
from dpi.data.content import checksums, files_below, hash_lines, is_hidden
from dpi.data.prepare import MOST_PIXELS, decoding, open_image, prepare
from dpi.data.source import decode, listed
from dpi.errors import UserError
from dpi.progress import Progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

LARGEST = 2**30
"""Bytes of a file; a zip of a few of them could hold more than fits into memory."""


class Folder:
    """All images below a folder or in a zip, sorted by name.

    Larger images are center-cropped to a square and resized (Lanczos), after they are turned as
    their EXIF orientation says. Links are followed. Other files, hidden files and hidden folders
    are left out, and counted in a line on stderr.

    Args:
        path: a folder or a zip.
        image_size: height and width of the returned images, in pixels.
        image_channels: of the returned images: 1 (L), 2 (LA), 3 (RGB) or 4 (RGBA).
        convert: whether images of other modes are converted, see `dpi.data.prepare.to_mode`.
        missing: advice for the error message when path does not exist.
        cache_dir: where checksums of a folder are kept; None to read its files each time.
        skip_broken: whether images that cannot be used are left out, as if they were not there.
        max_pixels: of an image in a file; None for MOST_PIXELS.

    Raises:
        UserError: path does not exist, contains no image, or is not a valid zip.
    """

    def __init__(
        self,
        path: str | Path,
        image_size: int,
        image_channels: int = 3,
        convert: bool = False,
        missing: str = "give data.path=, a folder or a zip of images",
        cache_dir: str | Path | None = None,
        skip_broken: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        self.path, self.cache_dir = Path(path), cache_dir and Path(cache_dir)
        self.image_size, self.image_channels, self.convert = image_size, image_channels, convert
        self.max_pixels = max_pixels or MOST_PIXELS
        if not os.path.exists(path):  # Path("") does
            raise UserError(f"{path or repr(path)} does not exist; {missing}")
        self._zip = None if self.path.is_dir() else _open_zip(self.path)
        names = self._zip.namelist() if self._zip else files_below(self.path)
        kinds = {name: _kind(name) for name in names if not name.endswith("/")}
        self.names = sorted(name for name, kind in kinds.items() if kind in SUFFIXES)
        others = Counter(kind for kind in kinds.values() if kind not in SUFFIXES)
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        if not self.names:
            raise UserError(
                f"{self.path} is empty: it contains no image ({', '.join(SUFFIXES)})"
                + f", but {counted}" * bool(others)
            )
        if others:
            self._say(f"{len(self.names)} images; other files are left out: {counted}")
        self.skip_broken = skip_broken
        self.broken: dict[str, str] = {}
        """Why images are left out, by their names."""
        if skip_broken:
            self._skip_broken()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of image_size, image_channels and convert, and of each file's name and CRC-32.

        A folder and a zip of the same files have the same one, and so has a copy with other
        modification times. Files are read once, see `checksums`; a zip holds their CRC-32.
        """
        how = f"{self.image_size} {self.image_channels} {self.convert}\n"
        if (self.image_channels, self.convert) == (3, False):
            how = str(self.image_size)
        return hash_lines(how, (f"{name} {self._checksums.get(name)}" for name in self.names))

    @cached_property
    def _checksums(self) -> dict[str, int]:
        """By name; without what is no ordinary file, such as a link to nothing."""
        if self._zip:
            return {name: self._zip.getinfo(name).CRC for name in self.names}
        files = [name for name in self.names if (self.path / name).is_file()]
        return dict(zip(files, checksums(self.path, files, self.cache_dir), strict=True))

    def read(self, i: int) -> bytes:
        """The bytes of file i.

        Raises:
            UserError: it is none, too large, or another one than when the checksums were made.
        """
        name = self.names[i]
        path = self.path / name
        if not self._zip and not path.is_file():
            raise UserError(f"{path} is a link to nothing, or no ordinary file")
        size = self._zip.getinfo(name).file_size if self._zip else path.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path} is larger than {LARGEST:,} bytes")
        content = self._zip.read(name) if self._zip else path.read_bytes()
        if vars(self).get("_checksums", {}).get(name, crc := zlib.crc32(content)) != crc:
            raise UserError(f"{path} has changed meanwhile; run the same command again")
        return content

    def open(self, i: int) -> Image.Image:
        """Image i as its file holds it, turned as its EXIF orientation says.

        Raises:
            UserError: the file is corrupt.
        """
        with decoding(f"{self.path}/{self.names[i]}"):
            return open_image(self.read(i), self.max_pixels)

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Raises:
            UserError: the file is corrupt, of another mode, or smaller than image_size.
        """
        where = f"{self.path}/{self.names[i]}"
        return prepare(self.open(i), where, self.image_size, self.image_channels, self.convert)

    def _skip_broken(self) -> None:
        """Leave out the images that cannot be used; which these are is kept in the cache."""
        key = f"{self.fingerprint}-{self.max_pixels}.json"
        path = self.cache_dir and self.cache_dir / "broken" / key
        if path and path.exists():
            self.broken = json.loads(path.read_text())
        else:
            tried = zip(self.names, decode(self), strict=True)
            bar = Progress(tried, "Trying images", len(self), leave=False)
            errors = {name: image for name, image in bar if isinstance(image, UserError)}
            for error in errors.values():
                if getattr(error.__context__, "errno", None):  # the disk's, and not the image's
                    raise error
            self.broken = {name: str(error) for name, error in errors.items()}
            if path:
                atomic_write(path, json.dumps(self.broken, indent=1))
        self.names = [name for name in self.names if name not in self.broken]
        said = listed([*self.broken.values()])
        if not self.names:
            raise UserError(f"{self.path}: none of its images can be used: {said}")
        if self.broken:
            where = f" ({path} has all)" if path else ""
            self._say(f"left out {len(self.broken)} that cannot be used{where}: {said}")

    def _say(self, what: str) -> None:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"{self.path}: {what}", file=sys.stderr)


def _kind(name: str) -> str:
    """The suffix of a file, or that it is hidden."""
    hidden = any(map(is_hidden, Path(name).parts))
    return "hidden" if hidden else Path(name).suffix.lower() or "without suffix"


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        if not path.is_file():  # a device has no end, and a pipe waits for its writer
            raise zipfile.BadZipFile
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError):
        raise UserError(f"{path} is neither a folder nor a valid zip") from None
