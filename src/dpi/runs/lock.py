"""One process at a time for a run, and for each evaluation of it."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path

from dpi.atomic import HELD, check_held
from dpi.errors import UserError

LOCK = ".lock"
PATIENCE = 2.0
"""Seconds to wait: another process may hold the lock for a moment to see whether it is free."""


@contextmanager
def lock(folder: Path, name: str = "") -> Iterator[None]:
    """Hold a folder's lock; the kernel releases it when this process ends, however it ends.

    The folder is created if need be, and removed again if nothing was written to it. Once it is
    deleted or moved, `atomic` writes nothing below its place.

    Args:
        folder: of a run, or of its evaluations.
        name: of the one evaluation that is locked.

    Raises:
        UserError: another process holds it, or the folder is gone at the end.
    """
    path = folder.absolute() / f"{LOCK}{name and '-'}{name}"
    held = _acquire(path, f"{name} of {folder.parent}" if name else str(folder))
    HELD[path.parent] = path.parent.stat().st_ino
    try:
        yield
    except OSError:
        check_held(path)
        raise
    else:
        check_held(path)
    finally:
        with suppress(OSError, UserError):  # the folder is gone
            check_held(path)
            if all(other.name.startswith(LOCK) for other in path.parent.iterdir()):
                path.unlink()
                path.parent.rmdir()  # or another process holds another lock in it
        HELD.pop(path.parent, None)
        os.close(held)


def _acquire(path: Path, what: str) -> int:
    """The descriptor of a lock that is held."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        except (FileNotFoundError, FileExistsError):  # its last owner has just removed the folder
            if gone := [of for of in path.parents if of.is_symlink() and not of.exists()]:
                raise UserError(f"{gone[0]} is a link to nothing: repair or delete it") from None
            if path.parent.is_file():
                raise
            continue
        try:
            flock(file, LOCK_EX | LOCK_NB)
            if os.fstat(file).st_nlink:  # else its last owner has removed it
                os.truncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return file
        except BlockingIOError:
            if time.monotonic() > end:
                owner = os.read(file, 200).decode(errors="replace") or "another process"
                os.close(file)
                raise UserError(f"{what} is locked by {owner}: wait for it, or stop it") from None
            time.sleep(0.05)
        os.close(file)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder's lock; of a folder that cannot be written, too."""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        flock(file, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
