"""Whether a class of the user's own can be imported, and has the members that it is used by."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import InstantiationException
from typing_extensions import get_protocol_members

from dpi.errors import UserError


def check_protocol(thing: object, protocol: type, key: str) -> None:
    """Check that an object has the members of a protocol.

    Args:
        thing: the object.
        protocol: such as `dpi.data.Source`.
        key: of the configuration, which names the object's class.

    Raises:
        UserError: it lacks some; the message names them.
    """
    missing = sorted(get_protocol_members(protocol) - set(dir(thing)))
    if missing:
        raise UserError(
            f"{key}: {type(thing).__name__} has no {', '.join(missing)}; "
            f"see {protocol.__name__} in docs/EXTENDING.md"
        )


@contextmanager
def importable() -> Iterator[None]:
    """Around `hydra.utils.instantiate`: what cannot be imported is a UserError."""
    try:
        yield
    except InstantiationException as error:
        target = re.match("Error locating target '([^']+)'", str(error))
        if not target:
            raise
        located = error.__cause__
        reason = located.__cause__ or located
        module = target[1].partition(".")[0]
        hint = "; put its folder on PYTHONPATH" * (getattr(reason, "name", "") == module)
        raise UserError(f"{target[1]} cannot be imported: {reason}{hint}") from error
