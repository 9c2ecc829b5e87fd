"""One process at a time for a folder."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dpi.errors import UserError

LOCK = ".lock"
PATIENCE = 2.0
"""Seconds to wait: another process may hold the lock for a moment to see whether it is free."""


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; the kernel releases it when this process ends, however it ends.

    The folder is created if need be, and removed again if nothing was written to it.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder / LOCK)
    try:
        held.acquire(timeout=PATIENCE)
    except Timeout:
        owner = (folder / LOCK).read_text() or "another process"
        raise UserError(f"{folder} is locked by {owner}: wait for it, or stop it") from None
    try:
        (folder / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        if all(path.name == LOCK for path in folder.iterdir()):
            shutil.rmtree(folder)
        held.release()


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder's lock."""
    if not (folder / LOCK).exists():
        return False
    probe = FileLock(folder / LOCK)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    probe.release()
    return False
