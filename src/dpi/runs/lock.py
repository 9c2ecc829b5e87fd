"""One process at a time for a run, and for each evaluation of it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dpi.errors import UserError

LOCK = ".lock"
PATIENCE = 2.0
"""Seconds to wait: another process may hold the lock for a moment to see whether it is free."""


@contextmanager
def lock(folder: Path, name: str = "") -> Iterator[None]:
    """Hold a folder's lock; the kernel releases it when this process ends, however it ends.

    The folder is created if need be, and removed again if nothing was written to it.

    Args:
        folder: of a run, or of its evaluations.
        name: of the one evaluation that is locked.

    Raises:
        UserError: another process holds it.
    """
    path = folder / f"{LOCK}{name and '-'}{name}"
    held = _acquire(path, f"{name} of {folder.parent}" if name else str(folder))
    try:
        yield
    finally:
        if all(other.name.startswith(LOCK) for other in folder.iterdir()):
            path.unlink()
            with suppress(OSError):  # another process holds another lock in it
                folder.rmdir()
        held.release()


def _acquire(path: Path, what: str) -> FileLock:
    held = FileLock(path)
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=PATIENCE)
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            return held
        except Timeout:
            owner = path.read_text() or "another process"
            raise UserError(f"{what} is locked by {owner}: wait for it, or stop it") from None
        except (FileNotFoundError, FileExistsError):  # its last owner removes the folder
            held.release()
            if path.parent.is_file():
                raise


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
