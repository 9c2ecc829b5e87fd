"""The exceptions that the entry points turn into one line of text instead of a traceback."""

import signal


class UserError(ValueError):
    """A mistake that the user can fix; the message is one line that says how."""


class Excluded(UserError):
    """A combination of options that the method excludes; a sweep skips it."""


class Terminated(SystemExit):
    """The process was asked to end, by SIGTERM or Ctrl-C; the message says what was saved."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(128 + number)  # as a shell has it
        self.message, self.number = message, int(number)
