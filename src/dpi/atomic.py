"""Files that are whole or absent, whatever happens while they are written."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dpi.errors import UserError

SUFFIX = ".partial"
STALE = 600.0
"""Seconds since its last write after which nobody is writing a partial file any more."""


@contextmanager
def atomic(path: Path, hint: str = "") -> Iterator[BinaryIO]:
    """A file beside `path` to write to, which takes its place once it is complete.

    The folder is made if need be. Partial files that killed processes left in it are removed.

    Args:
        path: of the file; an existing one is unchanged until it is replaced.
        hint: what the message of an error ends with.

    Raises:
        UserError: it cannot be written; nothing is left behind.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        with partial.open("xb") as file:
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


def check_space(folder: Path, size: int, what: str, hint: str = "") -> None:
    """Raise UserError if fewer than `size` bytes are free in a folder, which may not exist."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise UserError(
            f"{what} takes {size / 1e6:,.0f} MB, and {there} has {free / 1e6:,.0f} MB free{hint}"
        )


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(f"*.????????{SUFFIX}"):
        with suppress(FileNotFoundError):  # another process was faster
            if path.is_file() and time.time() - path.stat().st_mtime > STALE:
                path.unlink()
