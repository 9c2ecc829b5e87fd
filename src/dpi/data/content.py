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

    Links are followed. A hidden folder is not looked into, and is in the list itself.

    Raises:
        UserError: a folder that cannot be read, or that a link leads to a second time.
    """
    found: list[str] = []
    seen: dict[tuple[int, int], Path] = {}
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here, stat = Path(place), os.stat(place)
        first = seen.setdefault((stat.st_dev, stat.st_ino), here)
        if first is not here:
            raise UserError(f"{here} and {first} are one folder: remove the link")
        hidden = [name for name in folders if is_hidden(name)]
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [(here / name).relative_to(folder).as_posix() for name in (*names, *hidden)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is not for people."""
    return name.startswith(".") or name == "__MACOSX"


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
