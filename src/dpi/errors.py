"""The exceptions that the entry points turn into one line of text instead of a traceback."""

import signal


def printable(text: str) -> str:
    """A text with escapes in place of what a terminal would obey, such as newlines in names."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UserError(ValueError):
    """A mistake that the user can fix; the message is one line that says how."""

    def __str__(self) -> str:
        return printable(super().__str__())


class Excluded(UserError):
    """A combination of options that the method excludes; a sweep skips it."""


class Terminated(SystemExit):
    """The process was asked to end, by SIGTERM or Ctrl-C; the message says what was saved."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(128 + number)  # as a shell has it
        self.message = message
