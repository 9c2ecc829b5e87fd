"""The exceptions that the entry points turn into one line of text instead of a traceback."""


class UserError(ValueError):
    """A mistake that the user can fix; the message is one line that says how."""


class Excluded(UserError):
    """A combination of options that the method excludes; a sweep skips it."""
