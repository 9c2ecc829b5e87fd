"""How far a run is, for people and for sweeps: state.json in its folder, and who works on it."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dpi.errors import UserError
from dpi.whole import write_whole

STATE = "state.json"
LOCK = ".lock"
PATIENCE = 2.0
"""Seconds to wait for a lock: another may hold it for a moment to see whether it is free."""


@dataclass
class State:
    """What a run has come to."""

    step: int = 0
    """Optimizer steps taken and saved, or just taken while it runs."""
    seconds_left: float | None = None
    """Of the training."""
    doing: str | None = None
    """training, or the evaluation at work; None when all is done."""
    failed: str | None = None
    """One line that says why."""
    evaluated: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The evaluations that are there, with the settings and the step each was done at."""

    def missing(self, wanted: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Of the evaluations that a run is to have, those that it has not with these settings."""
        return {name: how for name, how in wanted.items() if self.evaluated.get(name) != how}

    def write(self, run: Path) -> None:
        """Write it into the run's folder."""
        write_whole(run / STATE, json.dumps(asdict(self), indent=1))


def read_state(run: Path) -> State:
    """The state that a run's folder tells; a new one where it tells none."""
    try:
        return State(**json.loads((run / STATE).read_text()))
    except FileNotFoundError:
        return State()


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; the system releases it when this process ends, however it ends.

    The folder is made if need be, and taken away again where nothing else came into it.

    Raises:
        UserError: somebody else holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        who = (folder / LOCK).read_text() or "another process"
        raise UserError(f"{folder} is being worked on by {who}: wait for it, or stop it") from None
    try:
        (folder / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        if all(path.name == LOCK for path in folder.iterdir()):
            shutil.rmtree(folder)
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Whether somebody holds the folder's lock."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
