"""Whether classes of the user's own can be imported, and have the members that they are used by."""

import pkgutil
from typing import Any

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


def targets(node: Any) -> list[str]:
    """All that `hydra.utils.instantiate` would call for a part of a configuration, by name.

    Args:
        node: of dictionaries and lists, resolved.
    """
    if isinstance(node, list):
        return [target for item in node for target in targets(item)]
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + targets(list(node.values()))
    return []


def check_importable(target: str) -> None:
    """Raise UserError if a name such as mine.Network cannot be imported; the message says why."""
    try:
        pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        own = getattr(error, "name", None) == target.partition(".")[0]
        hint = "; put its folder on PYTHONPATH" * (own and isinstance(error, ImportError))
        raise UserError(f"{target} cannot be imported: {error}{hint}") from error
