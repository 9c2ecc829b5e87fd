"""A plan for a batch of scalars: which samples share one. It depends on the scalars alone."""

from itertools import groupby
from typing import NamedTuple

import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor

from dpi.interpolation.scalar import Range, position, read


class Plan(NamedTuple):
    """Where the scalars of a batch are, and which samples share one."""

    where: Tensor
    """Positions among the S steps: shape () for one scalar, else (B,)."""
    sizes: tuple[int, ...] | None = None
    """The number of samples of each distinct scalar, in ascending order of the scalars. None if
    each sample has its own or, as under `torch.compile`, this is unknown."""
    order: Tensor | None = None
    """The permutation that sorts the samples by their scalars, (B,). None if they are sorted."""

    def first(self, device: torch.device) -> Tensor:
        """The index of one sample of each distinct scalar, (G,)."""
        ends = torch.tensor(self.sizes).cumsum(0) - 1
        first = ends if self.order is None else self.order[ends]
        return first.to(device, non_blocking=True)

    def with_equal_sizes(self) -> "Plan":
        """The same plan, but without grouping if the groups differ in size."""
        return Plan(self.where) if self.sizes and len(set(self.sizes)) > 1 else self

    def __str__(self) -> str:
        if self.where.dim() == 0:
            return "one scalar"
        distinct = "each its own scalar" if self.sizes is None else f"{len(self.sizes)} scalars"
        return f"{len(self.where)} samples, {distinct}"


def make_plan(s: Tensor, num_scalars: int, scalar: Range | None = None) -> Plan:
    """Check the scalars and group equal ones.

    Args:
        s: shape () or (1,) for one scalar, else (B,). A GPU is synchronized once if s is on it, and
            not at all if s is on the CPU.
        num_scalars, scalar: see `dpi.interpolation.scalar.position`.

    Raises:
        ValueError: a scalar is out of range, or s has more than one dimension.
    """
    if s.dim() > 1:
        raise ValueError(
            "s must be one scalar or one for each sample, a tensor of shape () or (B,), got shape "
            f"{tuple(s.shape)}"
        )
    differentiable = s.requires_grad or fwAD.unpack_dual(s).tangent is not None
    if not differentiable and not torch.compiler.is_compiling():
        s = s.cpu()
    where = position(s, num_scalars, scalar)
    if s.numel() == 1:
        return Plan(where.reshape(()))
    if s.numel() == 0:  # any parameters do for no samples
        return Plan(where.new_zeros(()))
    # Equal scalars can have different derivatives.
    values = None if differentiable else read(s)
    if values is None:
        return Plan(where)
    order = sorted(range(len(values)), key=values.__getitem__)
    sizes = tuple(len(list(same)) for _, same in groupby(values[i] for i in order))
    if len(sizes) == 1:
        return Plan(where[0])
    if len(sizes) == len(values):
        return Plan(where)
    is_sorted = order == list(range(len(values)))
    return Plan(where, sizes, None if is_sorted else torch.tensor(order))
