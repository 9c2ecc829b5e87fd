"""Whether an object of the user's own has the members that it is used by."""

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
