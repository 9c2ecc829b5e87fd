"""The identity of images in files: their names and contents, not their place or times."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from dpi.atomic import atomic_write
from dpi.errors import UserError
from dpi.progress import Progress

LOSSLESS = ("utf-8", "surrogateescape")
"""The encoding of names that may not be UTF-8."""


def files_below(folder: Path) -> list[str]:
    """The names of all files in a folder and its subfolders, relative to it and sorted.

    Links are followed.

    Raises:
        UserError: a folder that cannot be read, a link to a folder that it is in, or to nothing.
    """
    found = []
    for place, _, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(place)
        if here.is_symlink() and here.resolve() in (above.resolve() for above in here.parents):
            raise UserError(f"{here} is a link to a folder that it is in: remove it")
        for path in (here / name for name in names):
            if not path.is_file():
                raise UserError(f"{path} is no file, or a link to nothing: remove it")
            found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def hash_lines(how: str, lines: Iterable[str]) -> str:
    """SHA-256, in hexadecimal digits, of how images are prepared and of a line for each."""
    digest = hashlib.sha256(how.encode(*LOSSLESS))
    for line in lines:
        digest.update(f"{line}\n".encode(*LOSSLESS))
    return digest.hexdigest()


def checksums(folder: Path, names: Sequence[str], cache_dir: Path | None) -> list[int]:
    """The CRC-32 of the contents of files, which a zip has of its files.

    To read all files may take minutes, so the result is kept: they are read again if the folder is
    another one, or if the name, the size or a time of one of them has changed.

    Args:
        folder, names: the files.
        cache_dir: where the result is kept, below `checksums`; None to keep it nowhere.

    Raises:
        UserError: a file that cannot be read.
    """
    try:
        stats = ((name, (folder / name).stat()) for name in names)
        lines = (f"{name} {of.st_size} {of.st_mtime_ns} {of.st_ctime_ns}" for name, of in stats)
        key = hash_lines(str(folder.resolve()), lines)
        path = cache_dir and cache_dir / "checksums" / f"{key}.json"
        if path and path.exists():
            return json.loads(path.read_text())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sums = pool.map(_crc32, (folder / name for name in names))
            found = list(Progress(sums, "Reading files", len(names), leave=False))
    except OSError as error:
        _refuse(error)
    if path:
        atomic_write(path, json.dumps(found))
    return found


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None
