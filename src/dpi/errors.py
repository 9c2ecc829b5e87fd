"""The one exception that the entry points turn into a line of text instead of a traceback."""


class UserError(ValueError):
    """Something the user can put right; its message is one line that says what to do."""
