"""A weight that differs between the samples of a batch.

For a batch of many scalars, each parameter of the network is replaced by a `PerSampleWeight`, which
represents theta(s_1) ... theta(s_B). The operations that know how to use one are in
`dpi.interpolation.operations`; any other raises `UnsupportedOperation`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dpi.interpolation.lerp import combine, combine_groups
from dpi.interpolation.low_rank import products

WEIGHTS = "weights that differ between samples"


class UnsupportedOperation(RuntimeError):
    """An operation cannot use a weight that differs between samples; the message names it."""


class Batch:
    """The samples of a batch, by their scalars.

    Args:
        c: the coefficients of the weights of each sample, see `PerSampleWeight`, (N, B).
        sizes: the number of samples of each distinct scalar; None to treat all as distinct.
        order: the permutation that sorts the samples into these groups, (B,); None if they are
            sorted.

    Attributes:
        c_of_groups: the coefficients of each distinct scalar, (N, G).
    """

    def __init__(
        self, c: Tensor, sizes: Sequence[int] | None = None, order: Tensor | None = None
    ) -> None:
        self.c, self.order = c, order
        self.size = c.shape[1]
        self.sizes = tuple(sizes) if sizes else (1,) * self.size
        # Not on demand: that could be where gradients are disabled, or in what is recomputed.
        self.c_of_groups = c
        if len(self.sizes) < self.size:
            ends = (torch.tensor(self.sizes).cumsum(0) - 1).to(c.device, non_blocking=True)
            self.c_of_groups = self.sort(c, 1)[:, ends]

    def sort(self, x: Tensor, dim: int = 0) -> Tensor:
        """Samples with equal scalars next to each other."""
        return x if self.order is None else x.index_select(dim, self.order)

    def unsort(self, x: Tensor) -> Tensor:
        """The inverse of `sort`."""
        return x if self.order is None else x[self.order.argsort()]

    def check(self, x: Any, operation: str) -> None:
        """Raise UnsupportedOperation if the first dimension of x is not the batch."""
        if not isinstance(x, Tensor):
            raise UnsupportedOperation(f"{operation} without a batch does not support {WEIGHTS}")
        if x.dim() == 0 or x.shape[0] != self.size:
            raise UnsupportedOperation(
                f"{operation} has an input whose first dimension is not the batch"
            )


class Products(Sequence[Tensor]):
    """theta0, U_1 V_1, ... U_N V_N; the products are computed only if they are looked at."""

    def __init__(self, first: Tensor, u: Tensor, v: Tensor) -> None:
        self.first, self.u, self.v = first, u, v
        self._steps: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return 1 + len(self.v)

    def __getitem__(self, k: Any) -> Any:
        if k == 0:
            return self.first
        if self._steps is None:
            self._steps = products(self.u, self.v).unbind()
        return (self.first, *self._steps)[k]


class PerSampleWeight:
    """A parameter of each sample b, theta_b = part_0 + sum_n c_nb part_n.

    For two sets the parts are theta0 and theta1 - theta0, and c is lambda. It passes for a tensor
    as far as it can; what it cannot do raises `UnsupportedOperation`.

    Args:
        batch: the samples and their c.
        parts: N + 1 tensors of the parameter's shape.
    """

    def __init__(self, batch: Batch, parts: Sequence[Tensor]) -> None:
        self.batch = batch
        self.parts = parts

    @classmethod
    def of(cls, batch: Batch, sets: Sequence[Tensor]) -> "PerSampleWeight":
        """A parameter by its values in every set."""
        return cls(batch, [sets[0], *(above - below for below, above in pairwise(sets))])

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        implementation = OPERATIONS.get(func)
        if implementation is None:
            name = getattr(func, "__name__", None) or str(func)
            raise UnsupportedOperation(f"{name} does not support {WEIGHTS}")
        return implementation(func, *args, **(kwargs or {}))

    low_rank: tuple[Tensor, Tensor] | None = None
    """For parts U_k V_k, k = 1 ... N: U, (N, O, r), and V, (N, r, ...)."""

    @classmethod
    def of_low_rank(
        cls, batch: Batch, first: Tensor, u: Tensor | None, v: Tensor
    ) -> "PerSampleWeight":
        """A parameter theta0 + sum_k c_k U_k V_k, or theta0 + sum_k c_k V_k of a vector."""
        if u is None:
            return cls(batch, [first, *v.unbind()])
        weight = cls(batch, Products(first, u, v))
        weight.low_rank = u, v
        return weight

    def each(self) -> Tensor:
        """theta_b for every sample, (B, *shape)."""
        return combine(self.parts[0][None], self.batch.c, self.parts[1:])

    def of_groups(self) -> Tensor:
        """theta for every distinct scalar, (G, *shape)."""
        return combine_groups(self.batch.c_of_groups, self.parts)

    def map(self, function: Callable[[Tensor], Tensor]) -> "PerSampleWeight":
        """A linear function of the weight, such as a reshaping or a change of precision."""
        parts = [function(part) for part in self.parts]
        if not (parts[0].is_floating_point() or parts[0].is_complex()):
            raise UnsupportedOperation(f"{parts[0].dtype} does not support {WEIGHTS}")
        return PerSampleWeight(self.batch, parts)

    def __getattr__(self, name: str) -> Any:
        if name in DESCRIPTIONS:
            return getattr(self.parts[0], name)
        if name in ("T", "mT"):
            return self.map(lambda part: getattr(part, name))
        method = getattr(Tensor, name, None)
        if method in OPERATIONS:
            return lambda *args, **kwargs: OPERATIONS[method](method, self, *args, **kwargs)
        raise UnsupportedOperation(f"Tensor.{name} does not support {WEIGHTS}")

    def __getitem__(self, index: Any) -> "PerSampleWeight":
        return self.map(lambda part: part[index])

    def __len__(self) -> int:
        return len(self.parts[0])

    def __bool__(self) -> bool:
        raise UnsupportedOperation(f"a condition does not support {WEIGHTS}")

    def __neg__(self) -> "PerSampleWeight":
        return self.map(torch.neg)

    def _operate(self, function: Any, other: Any) -> Any:
        return OPERATIONS[function](function, self, other)

    def __add__(self, other: Any) -> Any:
        return self._operate(torch.add, other)

    def __sub__(self, other: Any) -> Any:
        return self._operate(torch.sub, other)

    def __mul__(self, other: Any) -> Any:
        return self._operate(torch.mul, other)

    def __truediv__(self, other: Any) -> Any:
        return self._operate(torch.div, other)

    __radd__, __rmul__ = __add__, __mul__


DESCRIPTIONS = {
    *("shape", "ndim", "dim", "size", "numel", "nelement", "stride", "is_contiguous"),
    *("dtype", "is_floating_point", "is_complex", "element_size"),
    *("device", "get_device", "is_cuda", "is_cpu", "is_meta"),
    *("layout", "is_sparse", "is_quantized", "is_nested", "requires_grad", "is_leaf"),
}
"""Attributes and methods of a tensor that do not depend on its values."""

OPERATIONS: dict[Any, Callable] = {}
"""What can use a `PerSampleWeight`: function -> (function, *args, **kwargs) -> result."""


def implements(*functions: Any) -> Callable[[Callable], Callable]:
    """Register the implementation of some functions for `PerSampleWeight`."""

    def register(implementation: Callable) -> Callable:
        OPERATIONS.update(dict.fromkeys(functions, implementation))
        return implementation

    return register
