"""A weight that differs between the samples of a batch, and the operations that know how to use it.

For a batch of many scalars each parameter of the network is replaced by a `PerSampleWeight`, which
represents theta(s_1) ... theta(s_B). An operation that meets one is looked up in OPERATIONS. What is
linear in its weight is run with the parameters interpolated for each distinct scalar, or with both
parameter sets,

    L(x; theta0 + lambda (theta1 - theta0)) = L(x; theta0) + lambda L(x; theta1 - theta0),

whichever is less work for its shapes. Any other operation raises `UnsupportedOperation`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

POSITIONS_PER_SCALAR = 300
"""From this many positions (pixels, tokens) per distinct scalar on, interpolating a weight for each
scalar takes less time than running the operation with both sets (results/interpolation.md)."""


WEIGHTS = "weights that differ between samples"


class UnsupportedOperation(RuntimeError):
    """An operation cannot use a weight that differs between samples; the message names it."""


class Batch:
    """The samples of a batch, by their scalars.

    Args:
        c: the coefficients of `dpi.interpolation.lerp.fractions` for each sample, (K - 1, B).
        sizes: the number of samples of each distinct scalar; None to treat all as distinct.
        order: the permutation that sorts the samples into these groups, (B,); None if they are
            sorted.
    """

    def __init__(
        self, c: Tensor, sizes: Sequence[int] | None = None, order: Tensor | None = None
    ) -> None:
        self.c, self.sizes, self.order = c, sizes, order
        self.size = c.shape[1]

    def check(self, x: Tensor, operation: str) -> None:
        if not isinstance(x, Tensor) or x.dim() == 0 or x.shape[0] != self.size:
            found = f"input of shape {tuple(x.shape)}" if isinstance(x, Tensor) else "no input"
            raise UnsupportedOperation(
                f"{operation} has {found}, whose first dimension is not the batch"
            )

    def groups(self, x: Tensor) -> Sequence[Tensor]:
        return (x if self.order is None else x[self.order]).split(self.sizes)

    def ungroup(self, groups: Sequence[Tensor]) -> Tensor:
        x = torch.cat(groups)
        return x if self.order is None else x[self.order.argsort()]

    def c_of_groups(self) -> Tensor:
        """The coefficients of each distinct scalar, (K - 1, G)."""
        c = self.c if self.order is None else self.c[:, self.order]
        ends = torch.tensor(self.sizes).cumsum(0)
        return c[:, (ends - 1).to(c.device, non_blocking=True)]


class PerSampleWeight:
    """A parameter that differs between samples, theta_b = theta_0 + sum_k c_kb (theta_k - theta_{k-1}).

    Args:
        batch: the samples and their c.
        parts: theta_0 and the differences theta_k - theta_{k-1}.
    """

    def __init__(self, batch: Batch, parts: Sequence[Tensor]) -> None:
        self.batch = batch
        self.parts = parts

    @classmethod
    def of(cls, batch: Batch, sets: Sequence[Tensor]) -> "PerSampleWeight":
        """From the values in each parameter set."""
        return cls(batch, [sets[0], *(above - below for below, above in pairwise(sets))])

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        operation = OPERATIONS.get(func)
        if operation is None:
            raise UnsupportedOperation(f"{_name(func)} does not support {WEIGHTS}")
        return operation(func, *args, **(kwargs or {}))

    def each(self) -> Tensor:
        """theta_b for each sample, (B, *shape)."""
        return _sum(self.parts[0][None], self.batch.c, self.parts[1:])

    def of_groups(self) -> Sequence[Tensor]:
        """theta for each distinct scalar, G tensors."""
        return _sum(self.parts[0][None], self.batch.c_of_groups(), self.parts[1:]).unbind()

    def map(self, function: Callable[[Tensor], Tensor]) -> "PerSampleWeight":
        """A linear function of the weight."""
        parts = [function(part) for part in self.parts]
        if not (parts[0].is_floating_point() or parts[0].is_complex()):
            raise UnsupportedOperation(f"{parts[0].dtype} does not support {WEIGHTS}")
        return PerSampleWeight(self.batch, parts)

    def expand(self, *sizes: Any) -> Tensor:
        """A parameter of one row, such as a class token, repeated for the batch."""
        sizes = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
        if len(sizes) != self.ndim or self.shape[0] != 1 or sizes[0] != self.batch.size:
            raise UnsupportedOperation("a parameter is expanded to something else than the batch")
        return self.each()[:, 0].expand(*sizes)

    def __getattr__(self, name: str) -> Any:
        if name in DESCRIPTIONS:
            return getattr(self.parts[0], name)
        if name in ("T", "mT"):
            return self.map(lambda part: getattr(part, name))
        if name in LINEAR:
            return lambda *args, **kwargs: self.map(lambda p: getattr(p, name)(*args, **kwargs))
        if name in PIECES:
            return lambda *args, **kwargs: _pieces(getattr(Tensor, name), self, *args, **kwargs)
        raise UnsupportedOperation(f"Tensor.{name} does not support {WEIGHTS}")

    def __getitem__(self, index: Any) -> "PerSampleWeight":
        return self.map(lambda part: part[index])

    def __len__(self) -> int:
        return len(self.parts[0])

    def __bool__(self) -> bool:
        raise UnsupportedOperation(f"a condition does not support {WEIGHTS}")

    def __neg__(self) -> "PerSampleWeight":
        return self.map(torch.neg)

    def __add__(self, other: Any) -> Tensor:
        return _elementwise(torch.add, self, other)

    def __sub__(self, other: Any) -> Tensor:
        return _elementwise(torch.sub, self, other)

    def __mul__(self, other: Any) -> Any:
        return _elementwise(torch.mul, self, other)

    def __truediv__(self, other: Any) -> Any:
        return _elementwise(torch.div, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Tensor:
        return _elementwise(torch.sub, other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _elementwise(torch.div, other, self)


DESCRIPTIONS = frozenset(
    "shape dtype device ndim layout requires_grad is_leaf is_cuda is_cpu is_meta is_sparse "
    "is_quantized is_nested size dim numel nelement stride is_floating_point is_complex "
    "is_contiguous element_size get_device".split()
)
"""Attributes and methods of a tensor that do not depend on its values."""

LINEAR = frozenset(
    "t transpose permute movedim reshape view flatten unflatten squeeze unsqueeze narrow select "
    "contiguous clone to float half bfloat16 double type type_as".split()
)
"""Methods that are linear in the tensor; the result is a weight of the same kind."""

PIECES = frozenset("chunk split unbind".split())
"""Methods whose results are several such weights."""


def _name(func: Callable) -> str:
    return getattr(func, "__name__", None) or str(func)


def _sum(first: Tensor, c: Tensor, steps: Sequence[Tensor]) -> Tensor:
    """first + sum_k c_k step_k, with the coefficients of each sample along the first dimension.

    The coefficients keep their precision where the rest is in half precision.
    """
    total = first
    for c_k, step in zip(c, steps, strict=True):
        dims = max(first.dim(), step.dim())
        total = torch.addcmul(total, c_k.reshape(-1, *[1] * (dims - 1)), step)
    return total.to(first.dtype)


def _parts(weight: Any, count: int) -> list[Tensor | None]:
    if isinstance(weight, PerSampleWeight):
        return list(weight.parts)
    return [weight, *[None] * (count - 1)]


def _batch_of(*values: Any) -> Batch:
    return next(value.batch for value in values if isinstance(value, PerSampleWeight))


def _product(
    name: str,
    x: Tensor,
    weight: Any,
    bias: Any,
    run: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    channel: int,
) -> Tensor:
    """A linear layer or a convolution, run(x, weight, bias), with its channels at `channel`."""
    batch = _batch_of(weight, bias)
    batch.check(x, name)
    positions = x.numel() // (max(1, x.shape[channel]) * max(1, len(batch.sizes or x)))
    if batch.sizes and positions >= POSITIONS_PER_SCALAR:
        many = len(batch.sizes)
        weights, biases = (
            value.of_groups() if isinstance(value, PerSampleWeight) else [value] * many
            for value in (weight, bias)
        )
        return batch.ungroup(list(map(run, batch.groups(x), weights, biases)))
    count = len(batch.c) + 1
    (weight0, *weights), (bias0, *biases) = _parts(weight, count), _parts(bias, count)
    y = run(x, weight0, bias0)
    if isinstance(weight, PerSampleWeight):
        return _sum(y, batch.c, [run(x, w, b) for w, b in zip(weights, biases, strict=True)])
    shape = [-1, *[1] * (y.dim() - 1 - channel % y.dim())]
    return _sum(y, batch.c, [b.reshape(shape) for b in biases])


def _linear_layer(func: Callable, input: Tensor, weight: Any, bias: Any = None) -> Tensor:
    return _product("linear", input, weight, bias, lambda x, w, b: func(x, w, b), -1)


def _convolution(
    func: Callable, input: Tensor, weight: Any, bias: Any = None, *args: Any, **kwargs: Any
) -> Tensor:
    spatial = weight.ndim - 2
    if input.dim() != spatial + 2:
        raise UnsupportedOperation(f"{_name(func)} has an input without batch dimension")
    run = lambda x, w, b: func(x, w, b, *args, **kwargs)  # noqa: E731
    return _product(_name(func), input, weight, bias, run, 1)


def _embedding(func: Callable, input: Tensor, weight: Any, *args: Any, **kwargs: Any) -> Tensor:
    batch = weight.batch
    batch.check(input, "embedding")
    if any(args[1:]) or any(kwargs.get(name) for name in ("max_norm", "scale_grad_by_freq")):
        raise UnsupportedOperation("embedding with max_norm, scale_grad_by_freq or sparse")
    y, *steps = (func(input, part, *args, **kwargs) for part in weight.parts)
    return _sum(y, batch.c, steps)


def _matmul(func: Callable, input: Tensor, other: Any) -> Tensor:
    if not isinstance(other, PerSampleWeight) or not (other.ndim == 2 or other.ndim < input.dim()):
        raise UnsupportedOperation(f"a matmul of these shapes does not support {WEIGHTS}")
    return _product("matmul", input, other, None, lambda x, w, _: func(x, w), -1)


def _affine(name: str, y: Tensor, weight: Any, bias: Any, channel: int | None) -> Tensor:
    """y * weight + bias, along `channel` or, if it is None, the last dimensions."""
    _batch_of(weight, bias).check(y, name)

    def aligned(value: Any) -> Tensor:
        each = value.each() if isinstance(value, PerSampleWeight) else value[None]
        behind = 0 if channel is None else y.dim() - 1 - channel
        between = y.dim() - each.dim() - behind
        shape = [len(each), *[1] * between, *each.shape[1:], *[1] * behind]
        return each.reshape(shape).to(y.dtype)

    if weight is not None:
        y = y * aligned(weight)
    return y if bias is None else y + aligned(bias)


def _group_norm(
    func: Callable,
    input: Tensor,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *args: Any,
) -> Tensor:
    return _affine("group_norm", F.group_norm(input, num_groups, eps=eps), weight, bias, 1)


def _layer_norm(
    func: Callable,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *args: Any,
) -> Tensor:
    return _affine("layer_norm", F.layer_norm(input, normalized_shape, eps=eps), weight, bias, None)


def _rms_norm(
    func: Callable,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Any = None,
    eps: float | None = None,
) -> Tensor:
    return _affine("rms_norm", F.rms_norm(input, normalized_shape, eps=eps), weight, None, None)


def _batch_norm(
    func: Callable,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    y = F.batch_norm(input, running_mean, running_var, None, None, training, momentum, eps)
    return _affine("batch_norm", y, weight, bias, 1)


def _instance_norm(
    func: Callable,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Any = None,
    bias: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    y = F.instance_norm(input, running_mean, running_var, None, None, *args, **kwargs)
    return _affine("instance_norm", y, weight, bias, 1)


def _elementwise(func: Callable, a: Any, b: Any, **kwargs: Any) -> Any:
    """+ - * / of a batch and a weight, or of a weight and a number."""
    weight, other = (a, b) if isinstance(a, PerSampleWeight) else (b, a)
    if isinstance(other, int | float) and weight is a and func in SCALING:
        return weight.map(lambda part: func(part, other))
    batch, name = weight.batch, _name(func)
    batch.check(other, name)
    # What a weight of shape (C, 1, 1) or (1, L, C) is for a sample of shape (1, C, H, W).
    if weight.ndim == other.dim() and weight.shape[0] == 1:
        each = weight.each()[:, 0]
    elif weight.ndim < other.dim():
        each = weight.each()
        each = each.reshape([len(each), *[1] * (other.dim() - each.dim()), *each.shape[1:]])
    else:
        raise UnsupportedOperation(f"{name} of these shapes does not support {WEIGHTS}")
    return func(each, other, **kwargs) if weight is a else func(other, each, **kwargs)


SCALING = frozenset((torch.mul, torch.div, Tensor.mul, Tensor.div))


def _reshaping(func: Callable, weight: Any, *args: Any, **kwargs: Any) -> Any:
    return weight.map(lambda part: func(part, *args, **kwargs))


def _pieces(func: Callable, weight: Any, *args: Any, **kwargs: Any) -> Any:
    pieces = [func(part, *args, **kwargs) for part in weight.parts]
    return tuple(PerSampleWeight(weight.batch, parts) for parts in zip(*pieces, strict=True))


def _joined(func: Callable, tensors: Sequence[Any], *args: Any, **kwargs: Any) -> PerSampleWeight:
    """cat and stack of weights; those that are shared by all samples do not change."""
    batch = _batch_of(*tensors)
    parts = [_parts(tensor, len(batch.c) + 1) for tensor in tensors]
    filled = [[p[0], *(torch.zeros_like(p[0]) if q is None else q for q in p[1:])] for p in parts]
    joined = [func(list(part), *args, **kwargs) for part in zip(*filled, strict=True)]
    return PerSampleWeight(batch, joined)


OPERATIONS: dict[Callable, Callable] = {
    F.linear: _linear_layer,
    F.embedding: _embedding,
    F.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__), _matmul),
    torch.cat: _joined,
    torch.concat: _joined,
    torch.stack: _joined,
    **dict.fromkeys((torch.chunk, torch.split, torch.unbind), _pieces),
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _convolution),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _convolution),
    **dict.fromkeys((torch.add, torch.sub, torch.mul, torch.div), _elementwise),
    **dict.fromkeys((Tensor.add, Tensor.sub, Tensor.mul, Tensor.div), _elementwise),
    **dict.fromkeys(
        (torch.t, torch.transpose, torch.permute, torch.reshape, torch.flatten, torch.squeeze), _reshaping
    ),
    torch.unsqueeze: _reshaping,
}
"""What can use a `PerSampleWeight`: function -> (function, *args, **kwargs) -> result."""
