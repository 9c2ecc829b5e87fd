"""Processes that work together end together, and one of them says why."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpi.atomic import atomic_write
from dpi.errors import Terminated, UserError

PARENT = "DPI_PARENT"
"""The environment variable with the process to end with, which may end before this one looks."""


def end_with_parent() -> None:
    """End this process, which another has started to share its work, when that one has ended.

    Otherwise it would wait for it to take part: half an hour, until PyTorch gives up.
    """
    parent = int(os.environ.get(PARENT, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def together(strategy: Any) -> Iterator[None]:
    """Around what the processes of one training or evaluation do together.

    Where one of them has died the others get an error from their next exchange. The first turns it
    into one line, the others end in silence.

    Args:
        strategy: Lightning's.

    Raises:
        UserError: another process has died.
    """
    try:
        yield
    except BaseException as error:
        if strategy.launcher is not None:
            # Lightning kills this process some seconds after another has failed.
            strategy.launcher.procs.clear()
        if not _is_of_an_exchange(error):
            raise
        if not strategy.is_global_zero:
            sys.exit(1)
        line = re.sub(r"^\[\S+\] ", "", " ".join(str(error).split())).partition(". ")[0]
        raise UserError(
            f"another process has died, was it killed, or out of memory? ({line[:160]}); "
            "the same command resumes from what was saved"
        ) from error


def _is_of_an_exchange(error: BaseException) -> bool:
    import torch  # takes seconds

    # Gloo, which connects CPUs, has no type of its own.
    gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return gloo or isinstance(error, torch.distributed.DistError)


@contextmanager
def stopped_by(file: Path) -> Iterator[None]:
    """Around a run beside which others are executed: the file stops it, as SIGTERM and Ctrl-C do,
    and so does the end of the sweep's process, with which this one ends, if it is another.

    joblib, which executes them, kills all its processes as soon as one has ended, such as one that
    has nothing to do and gets SIGTERM.

    Raises:
        Terminated: without a message where the file is there already.
    """
    over = threading.Event()
    is_sweeps = os.environ.get(PARENT) == str(os.getpid())  # with n_jobs=1
    parent = os.getppid()

    def orphaned() -> bool:
        return not is_sweeps and os.getppid() != parent

    def terminate(number: int, _: Any) -> None:
        if over.is_set():
            atomic_write(file, str(number))  # between two runs
        else:
            name = signal.Signals(number).name
            said = f"{name}: stopped; the same command resumes from what was saved"
            raise Terminated(said, number)

    def watch() -> None:
        while not over.wait(0.2):
            if file.exists() or orphaned():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if file.exists():
        raise Terminated("")
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if orphaned():  # joblib's would wait for the next run
            os._exit(128 + signal.SIGTERM)
