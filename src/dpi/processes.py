"""Processes that work together end together, and one of them says why."""

import ctypes
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dpi.errors import UserError

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent ends."""


def end_with_parent() -> None:
    """Have the kernel end this process, which another has started to share its work, with that one.

    Otherwise it would wait for it to take part: half an hour, until PyTorch gives up. Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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
