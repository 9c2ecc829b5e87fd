"""Progress: tqdm's bar in a terminal, and in a file a line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

SECONDS = 30.0
"""Between two lines of a bar in a file."""
OPEN: list["Progress"] = []
"""The bars that are being drawn, each below those before it."""


class Progress(tqdm):
    """tqdm, whose bar is redrawn at every step only where it can be, in a terminal.

    Elsewhere, such as in the log of a job, it is a line without the bar every SECONDS, and one at
    the end. A bar with `leave=False` that takes less time than that leaves none.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._shown = time.monotonic()
        super().__init__(*args, **options)
        if not self.disable:
            OPEN.append(self)

    def close(self) -> None:
        """Leave the bar as it is, and draw it no more."""
        super().close()
        if self in OPEN:
            OPEN.remove(self)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """What tqdm calls to draw the bar, to clear it (msg="") and to leave it (pos=0)."""
        if self.fp.isatty():
            return super().display(msg, pos)
        now, last = time.monotonic(), pos == 0
        if msg is None and (last or now - self._shown >= SECONDS):
            line = self.format_meter(**self.format_dict | {"ncols": 0, "bar_format": None})
            self.fp.write(line if last else f"{line}\n")  # tqdm itself ends the last one
            self._shown = now
        return False  # nothing is there to be cleared


@contextmanager
def bars_closed() -> Iterator[None]:
    """Around what an error may end: its message then begins on a line of its own."""
    try:
        yield
    except BaseException:
        for bar in reversed(OPEN[:]):  # the lowest first
            bar.close()
        raise
