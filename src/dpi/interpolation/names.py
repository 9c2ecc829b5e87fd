"""Which parameters or layers of a network file-name patterns choose."""

from collections.abc import Iterable
from fnmatch import filter as matching


def as_list(patterns: Iterable[str]) -> list[str]:
    """One pattern or several."""
    return [patterns] if isinstance(patterns, str) else list(patterns)


def chosen(kind: str, names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """The names that match a pattern.

    Args:
        kind: what they are names of, for the error.
        names: all of them.
        patterns: such as "encoder.*".

    Raises:
        ValueError: a pattern matches none.
    """
    names, found = list(names), set()
    for pattern in as_list(patterns):
        some = matching(names, pattern)
        if not some:
            known = f"{', '.join(names[:3])}, ..." if names else "there are none"
            raise ValueError(f"the pattern {pattern!r} matches none of the {kind} ({known})")
        found.update(some)
    return found
