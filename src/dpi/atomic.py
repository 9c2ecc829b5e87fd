"""Files that are whole or absent, whatever happens while they are written."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import BinaryIO

from dpi.errors import UserError

SUFFIX = ".partial"

HELD: dict[Path, int] = {}
"""The folders whose lock this process holds, and their inodes, see `dpi.runs.lock`."""


@contextmanager
def atomic(path: Path, hint: str = "") -> Iterator[BinaryIO]:
    """A file beside `path` to write to, which takes its place once it is complete.

    The folder is made if need be. Partial files of it that killed processes left are removed.

    Args:
        path: of the file; an existing one is unchanged until it is replaced.
        hint: what the message of an error ends with.

    Raises:
        UserError: it cannot be written; nothing is left behind.
    """
    check_held(path)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        with partial.open("xb") as file:
            with suppress(OSError):  # a file system without locks
                flock(file, LOCK_EX)
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        ours = error.filename is None or Path(error.filename) in (partial, *path.parents)
        if error.errno is None or not ours:  # of something that was read meanwhile
            raise
        raise UserError(f"{path} could not be written: {error.strerror}{hint}") from error
    finally:
        with suppress(OSError):  # it has been renamed, or could not be made
            partial.unlink()


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file as a whole, see `atomic`."""
    with atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def check_held(path: Path) -> None:
    """Raise UserError if a file would be in a folder that was deleted or moved since this process
    locked it: what is at its place now, if anything, is of others."""
    for folder in path.absolute().parents:
        if folder in HELD and not (folder.is_dir() and folder.stat().st_ino == HELD[folder]):
            raise UserError(f"{folder} was deleted or moved while this command wrote to it")


def check_space(folder: Path, size: int, what: str, hint: str = "") -> None:
    """Raise UserError if fewer than `size` bytes are free in a folder, which may not exist."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise UserError(
            f"{what} takes {size / 1e6:,.0f} MB, and {there} has {free / 1e6:,.0f} MB free{hint}"
        )


def _remove_left(path: Path) -> None:
    """Remove the partial files of a path that nobody is writing, since nobody holds their lock."""
    own = re.compile(re.escape(path.name) + r"\.[0-9a-f]{8}" + re.escape(SUFFIX))
    for other in path.parent.iterdir():
        if own.fullmatch(other.name) and other.is_file():
            with suppress(OSError), other.open("rb") as file:  # another process was faster
                flock(file, LOCK_EX | LOCK_NB)
                if time.time() - os.fstat(file.fileno()).st_mtime > 1:  # else not locked yet
                    other.unlink()
