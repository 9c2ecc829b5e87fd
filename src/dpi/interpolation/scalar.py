"""What the scalar s is: a step, a time, a noise level or any other quantity."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Range:
    """A quantity that runs from `first`, where lambda starts, to `last`, where it is 1.

        Range(0.002, 80, log=True)    # noise levels of EDM
        Range(0, 999)                 # timesteps that may be floats, as of diffusers' schedulers
        Range(1, 0)                   # flow time from data to noise
        Range(18, 90)                 # an age in years
        >>> Range(18, 90).fraction(torch.tensor([18, 54, 90]))
        tensor([0.0000, 0.5000, 1.0000])

    Integers and floats mean the same here: 30 and 30.0 are the same age.

    Args:
        first, last: the two ends, in either order; positive if log is set.
        log: space the steps of lambda evenly in log(s) instead of s.

    Raises:
        ValueError: the ends are equal or not finite, or not positive with log.
    """

    first: float
    last: float
    log: bool = False

    def __post_init__(self) -> None:
        ends = (self.first, self.last)
        if self.first == self.last or not all(map(math.isfinite, ends)):
            raise ValueError(f"the ends of a range must be finite and differ, got {ends}")
        if self.log and min(ends) <= 0:
            raise ValueError(f"the ends of a logarithmic range must be positive, got {ends}")

    def fraction(self, s: Tensor) -> Tensor:
        """Map first ... last to 0 ... 1."""
        if self.log:
            return (s / self.first).log() / math.log(self.last / self.first)
        return (s - self.first) / (self.last - self.first)

    def tolerated(self, dtype: torch.dtype) -> tuple[float, float]:
        """The least and the greatest s that are in range up to rounding."""
        low, high = sorted((self.first, self.last))
        if not dtype.is_floating_point:
            return low, high
        # A solver that adds up its steps in float32 is off by about 1e-6 of the range at its end.
        eps, slack = torch.finfo(dtype).eps, 1e-5
        if self.log:
            return low * (1 - max(slack, eps)), high * (1 + max(slack, eps))
        slack *= high - low
        return low - max(slack, eps * abs(low)), high + max(slack, eps * abs(high))


def as_scalars(s: Any) -> Tensor:
    """s as a tensor of shape () or (B,).

    Raises:
        TypeError: s is missing, or no number.
        ValueError: s has more than one dimension.
    """
    if s is None:
        raise TypeError("s, the scalar, is missing: net(x, s)")
    if isinstance(s, torch.fx.Proxy) or torch.jit.is_tracing():
        raise TypeError("this cannot be traced; trace net.at(s), or use torch.export")
    if type(s) in (int, float):  # under torch.compile, `as_tensor` would compile for each number
        return torch.full((), s, dtype=torch.int64 if type(s) is int else None)
    s = torch.as_tensor(s)
    if s.dim() > 1:
        shape = tuple(s.shape)
        raise ValueError(f"s must be one scalar or one for each sample, (B,), got shape {shape}")
    return s


def position(s: Tensor, num_scalars: int, scalar: Range | None = None) -> Tensor:
    """Convert scalars to positions among the S steps.

        >>> position(torch.tensor([0.0, 0.5, 1.0]), num_scalars=1000)
        tensor([  0.0000, 499.5000, 999.0000])

    Args:
        s: scalars of any shape and any integer or floating-point dtype.
        num_scalars: S.
        scalar: what s is. None for integer steps in [0, S-1] or floats in [0, 1], distinguished by
            the dtype: the integer 1 is the second step, the float 1.0 the last.

    Returns:
        Positions in [0, S-1], shaped as s and on its device, int64 for integer steps and float32
        or float64 otherwise. Scalars beyond an end by no more than rounding are set to it. Where
        values cannot be inspected (torch.compile, torch.export, vmap), positions are floats, and
        NaN for a scalar out of range.

    Raises:
        ValueError: a scalar is out of range or NaN, or of another type.
    """
    if s.dtype == torch.bool or s.is_complex():
        raise ValueError(f"s must be an integer or a float, got {s.dtype}")
    if not s.is_floating_point():
        s = s.long()  # bounds of smaller types would wrap
    steps = scalar is None and not s.is_floating_point()
    given = Range(0, num_scalars - 1) if steps else scalar or Range(0, 1)
    low, high = given.tolerated(s.dtype)
    inside = (s >= low) & (s <= high)  # not of NaN
    known = holds(inside)
    if known is False:
        wrong = s[~inside].reshape(-1)[0].item()
        kind = "an integer step" if steps else "a float s" if scalar is None else "s"
        ends = sorted((given.first, given.last))
        raise ValueError(f"{kind} must be in [{ends[0]:g}, {ends[1]:g}], got {wrong:g}")
    if steps and known:
        return s
    exact = s.to(torch.promote_types(s.dtype, torch.float32))
    fraction = given.fraction(exact).clamp(0, 1)
    if known is None:
        fraction = torch.where(inside, fraction, torch.nan)
    return fraction * (num_scalars - 1)


def holds(condition: Tensor) -> bool | None:
    """Whether a condition holds everywhere, or None where values cannot be inspected."""
    if torch.compiler.is_compiling():
        return None
    try:
        return bool(condition.all())
    except RuntimeError:  # under vmap and make_fx, or of a fake or meta tensor
        return None


def look_up(
    table: Tensor,
    s: Tensor,
    between: Literal["linear", "nearest"] = "linear",
    scalar: Range | None = None,
) -> Tensor:
    """Evaluate functions of the scalar that are tabulated at the S steps.

        >>> look_up(torch.tensor([0.0, 1.0, 4.0]), torch.tensor([0.25, 0.5, 1.0]))
        tensor([0.5000, 1.0000, 4.0000])

    Args:
        table: values at steps 0 ... S-1, shape (..., S).
        s: scalars of any shape, on any device.
        between: how to evaluate between two steps, by "linear" interpolation or by the "nearest"
            step (ties go to the even one).
        scalar: what s is, as in `position`.

    Returns:
        Values, (..., *s.shape), on the device of the table. NaN where a position is NaN.

    Raises:
        ValueError: a scalar is out of range.
    """
    where = position(s, table.shape[-1], scalar).to(table.device, non_blocking=True)
    # index_select: an index of shape () would synchronize a GPU.
    shape, where = (*table.shape[:-1], *where.shape), where.reshape(-1)
    if not where.is_floating_point():
        return table.index_select(-1, where).reshape(shape)
    if between == "nearest":
        where = where.round()
    below = where.nan_to_num(0.0).floor().long()
    above = (below + 1).clamp(max=table.shape[-1] - 1)
    fraction = (where - below).to(table.dtype)
    values = torch.lerp(table.index_select(-1, below), table.index_select(-1, above), fraction)
    return values.reshape(shape)
