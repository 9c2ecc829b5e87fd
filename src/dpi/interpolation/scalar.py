"""The scalar s: an integer step in 0 ... S-1, or a float in [0, 1] over the same range."""

from typing import Literal

import torch
from torch import Tensor


def position(s: Tensor, num_scalars: int) -> Tensor:
    """Convert scalars to positions among the S steps.

    The dtype decides how a scalar is read: the integer 1 is the second step, the float 1.0 the
    last.

    Args:
        s: scalars of any shape, integer steps in [0, S-1] or floats in [0, 1].
        num_scalars: S.

    Returns:
        Positions in [0, S-1], shaped as s. Integers are returned unchanged, a float s becomes
        s * (S-1).

    Raises:
        ValueError: a scalar is out of range or NaN, or of another type.
    """
    last = num_scalars - 1
    if s.dtype == torch.bool or s.is_complex():
        raise ValueError(f"s must be an integer step or a float in [0, 1], got {s.dtype}")
    top = 1 if s.is_floating_point() else last
    if not bool(((s >= 0) & (s <= top)).all()):
        kind = "a float s" if s.is_floating_point() else "an integer step"
        raise ValueError(f"{kind} must be in [0, {top}], got {s.min().item()} to {s.max().item()}")
    return s * last if s.is_floating_point() else s


def at(table: Tensor, s: Tensor, between: Literal["linear", "nearest"] = "linear") -> Tensor:
    """Evaluate a function of the scalar that is tabulated at the S steps.

    Args:
        table: values at steps 0 ... S-1, shape (S,).
        s: scalars of any shape, on any device; see `position`.
        between: how to evaluate between two steps, by "linear" interpolation or by the "nearest"
            step (ties go to the even one).

    Returns:
        Values shaped as s, on the device of the table.
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
