"""The identity of images in files: their names and contents, not their place or times."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dpi.atomic import atomic_write
from dpi.progress import Progress

LOSSLESS = ("utf-8", "surrogateescape")
"""The encoding of names that may not be UTF-8."""


def files_below(folder: Path) -> list[str]:
    """The names of all files in a folder and its subfolders, relative to it and sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def hash_lines(how: str, lines: Iterable[str]) -> str:
    """SHA-256, in hexadecimal digits, of how images are prepared and of a line for each."""
    digest = hashlib.sha256(how.encode(*LOSSLESS))
    for line in lines:
        digest.update(f"{line}\n".encode(*LOSSLESS))
    return digest.hexdigest()


def hash_stamps(how: str, folder: Path, names: Iterable[str]) -> str:
    """Hash of the files' names, sizes and modification times: it changes when one of them may have.

    Args:
        how: how images are prepared.
        folder, names: the files.
    """
    stats = ((name, (folder / name).stat()) for name in names)
    return hash_lines(how, (f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))


def hash_contents(how: str, folder: Path, names: Sequence[str], cache_dir: Path | None) -> str:
    """Hash of the files' names and of the CRC-32 of their contents, which a zip has of its files.

    To read all files may take minutes, so the result is kept: they are read again if the folder is
    another one, or `hash_stamps` has changed.

    Args:
        how: how images are prepared.
        folder, names: the files.
        cache_dir: where the result is kept, below `fingerprints`; None to keep it nowhere.
    """
    key = hash_lines(str(folder.resolve()), [hash_stamps(how, folder, names)])
    path = cache_dir and cache_dir / "fingerprints" / key
    if path and path.exists():
        return path.read_text()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sums = pool.map(_crc32, (folder / name for name in names))
        bar = Progress(zip(names, sums, strict=True), "Reading files", len(names), leave=False)
        found = hash_lines(how, (f"{name} {crc32}" for name, crc32 in bar))
    if path:
        atomic_write(path, found)
    return found


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32
