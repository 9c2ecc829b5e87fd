"""The scalar s: an integer step 0 ... S-1, or a float in [0, 1] that runs over the same steps."""

from typing import Literal

import torch
from torch import Tensor


def position(s: Tensor, num_scalars: int) -> Tensor:
    """Place s among the S steps.

    Args:
        s: any shape; integers are steps in [0, S-1], floats lie in [0, 1]. The type decides, so
            that 1 is the second step and 1.0 the last.
        num_scalars: S.

    Returns:
        Positions in [0, S-1], shaped as s; integers stay integers, a float s becomes s * (S-1).

    Raises:
        ValueError: a scalar is out of its range or NaN.
    """
    last = num_scalars - 1
    if s.dtype == torch.bool or s.is_complex():
        raise ValueError(f"s must be an integer step or a float in [0, 1], got {s.dtype}")
    top = 1 if s.is_floating_point() else last
    if not bool(((s >= 0) & (s <= top)).all()):
        kind = "a float s" if s.is_floating_point() else "an integer step"
        raise ValueError(f"{kind} must lie in [0, {top}], got {s.min().item()} to {s.max().item()}")
    return s * last if s.is_floating_point() else s


def at(table: Tensor, s: Tensor, between: Literal["linear", "nearest"] = "linear") -> Tensor:
    """Read a function of the scalar, given by its values at the S steps, at s.

    Args:
        table: (S,) values at steps 0 ... S-1.
        s: any shape and device, see `position`.
        between: what it is between two steps: on the line between them, or the nearest's (of two
            as near the even one's).

    Returns:
        Values shaped as s, on the table's device.
    """
    where = position(s, len(table)).to(table.device).reshape(-1)
    if between == "nearest" and where.is_floating_point():
        where = where.round().long()
    if where.is_floating_point():
        below = where.floor().long()
        above = (below + 1).clamp(max=len(table) - 1)
        fraction = (where - below).to(table.dtype)
        values = torch.lerp(table[below], table[above], fraction)
    else:
        values = table[where]
    return values.reshape(s.shape)
