"""The operations that can use a weight that differs between samples.

Products, y_b = theta_b x_b, are computed in whichever of three ways is the least work for their
shapes (measured in results/interpolation.md):

- with theta interpolated for each distinct scalar, in one grouped convolution or batched product;
- likewise, in one call for each distinct scalar;
- with the parts of theta, since a product is linear in its weight:
  L(x; theta0 + lambda (theta1 - theta0)) = L(x; theta0) + lambda L(x; theta1 - theta0), and with
  c_k U_k V_k in place of lambda (theta1 - theta0), by V_k first, then c_k, then U_k.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dpi.interpolation.lerp import combine
from dpi.interpolation.per_sample import (
    WEIGHTS,
    Batch,
    PerSampleWeight,
    UnsupportedOperation,
    implements,
)
from dpi.precision import cast

POSITIONS = 96
"""With this many positions (pixels, tokens) per distinct scalar, a product with weights of each
scalar takes twice as long as one with a weight for all; with more, less."""

LARGE = 32e6
"""Multiply-adds per distinct scalar from which on each gets a call of its own."""

MEMORY = 32
"""The most memory for interpolated weights, relative to the input."""


def _batch(*values: Any) -> Batch:
    batches = {id(v.batch): v.batch for v in values if isinstance(v, PerSampleWeight)}
    if len(batches) > 1:
        raise UnsupportedOperation("parameters of two interpolations meet in one operation")
    return next(iter(batches.values()))


def _parts(value: Any, count: int) -> Sequence[Any]:
    return value.parts if isinstance(value, PerSampleWeight) else [value, *[None] * (count - 1)]


def _of_groups(value: Any, groups: int) -> Any:
    if isinstance(value, PerSampleWeight):
        return value.of_groups()
    return value if value is None else value.expand(groups, *value.shape)


def _product(
    name: str,
    x: Tensor,
    weight: Any,
    bias: Any,
    run: Callable[..., Tensor],
    at_once: Callable[..., Tensor],
    channel: int,
    low_rank: Callable[..., Tensor] | None = None,
) -> Tensor:
    """y_b = run(x_b, weight_b, bias_b), with channels in dimension `channel`.

    at_once(x, weights, biases) is the same for x of shape (G, B/G, ...) and a weight of each group.
    low_rank(x, c, u, v) is sum_k c_kb run(x_b, U_k V_k), without computing U_k V_k.
    """
    batch = _batch(weight, bias)
    batch.check(x, name)
    groups = len(batch.sizes)
    positions = x.numel() // max(1, x.shape[channel] * groups)
    equal = len(set(batch.sizes)) == 1
    large = positions * weight.numel() > LARGE
    fits = groups * weight.numel() <= MEMORY * x.numel()
    # In units of the product with theta0 alone: with interpolated weights, and with the parts.
    interpolating, parts = 1 + POSITIONS / max(positions, 1), 1 + len(batch.c)
    factors = weight.low_rank if isinstance(weight, PerSampleWeight) else None
    if low_rank is not None and factors is not None:
        u, v = (factor[0].numel() for factor in factors)
        parts = 1 + len(batch.c) * (u + v) / weight.numel()
    if interpolating <= parts and fits and (equal or large):
        weights, biases = _of_groups(weight, groups), _of_groups(bias, groups)
        x = batch.sort(x)
        if large:
            weights = cast(weights)  # once, rather than in each call
            biases = [None] * groups if biases is None else biases
            y = torch.cat(list(map(run, x.split(batch.sizes), weights, biases)))
        else:
            y = at_once(x.unflatten(0, (groups, -1)), weights, biases).flatten(0, 1)
        return batch.unsort(y)
    count = len(batch.c) + 1
    if low_rank is not None and factors is not None:
        y = run(x, weight.parts[0], bias if isinstance(bias, Tensor) else None)
        y = y + low_rank(x, batch.c, *factors)
        if not isinstance(bias, PerSampleWeight):
            return y
        steps = [_along(b, y, channel) for b in bias.parts]
        return combine(y + steps[0], batch.c, steps[1:])
    (weight0, *weights), (bias0, *biases) = _parts(weight, count), _parts(bias, count)
    y = run(x, weight0, bias0)
    if isinstance(weight, PerSampleWeight):
        steps = [run(x, w, b) for w, b in zip(weights, biases, strict=True)]
    else:
        steps = [_along(b, y, channel) for b in biases]
    return combine(y, batch.c, steps)


def _along(bias: Tensor, y: Tensor, channel: int) -> Tensor:
    return bias.to(y.dtype).reshape([-1, *[1] * (y.dim() - 1 - channel % y.dim())])


def _scaled(z: Tensor, c: Tensor, channel: int) -> Tensor:
    """Each of N r channels of samples b, times c_kb, (N, B)."""
    each = c.T.repeat_interleave(z.shape[channel] // len(c), dim=1)
    shape = [1] * z.dim()
    shape[0], shape[channel] = each.shape
    return (z * each.reshape(shape)).to(z.dtype)


@implements(F.linear)
def _linear(func: Callable, input: Tensor, weight: Any, bias: Any = None) -> Tensor:
    def at_once(x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        y = torch.bmm(x.flatten(1, -2), weights.mT)
        return (y if biases is None else y + biases[:, None]).unflatten(1, x.shape[1:-1])

    def low_rank(x: Tensor, c: Tensor, u: Tensor, v: Tensor) -> Tensor:
        z = _scaled(func(x, v.flatten(0, 1)), c, -1)
        return func(z, u.transpose(0, 1).flatten(1))

    return _product("linear", input, weight, bias, func, at_once, -1, low_rank)


@implements(torch.matmul, Tensor.matmul, Tensor.__matmul__)
def _matmul(func: Callable, input: Tensor, other: Any) -> Tensor:
    if not isinstance(other, PerSampleWeight) or other.ndim != 2:
        raise UnsupportedOperation(f"a matmul of these shapes does not support {WEIGHTS}")

    def at_once(x: Tensor, weights: Tensor, _: None) -> Tensor:
        return torch.bmm(x.flatten(1, -2), weights).unflatten(1, x.shape[1:-1])

    return _product("matmul", input, other, None, lambda x, w, _: func(x, w), at_once, -1)


@implements(F.conv1d, F.conv2d, F.conv3d)
def _conv(
    func: Callable,
    input: Tensor,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    def run(x: Tensor, w: Tensor, b: Tensor | None, groups: int = groups) -> Tensor:
        return func(x, w, b, stride, padding, dilation, groups)

    def low_rank(x: Tensor, c: Tensor, u: Tensor, v: Tensor) -> Tensor:
        z = _scaled(run(x, v.flatten(0, 1), None), c, 1)
        return func(z, _pointwise(u.transpose(0, 1).flatten(1), z))

    return _convolution("convolution", input, weight, bias, run, groups, low_rank)


@implements(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
def _conv_transpose(
    func: Callable,
    input: Tensor,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    def run(x: Tensor, w: Tensor, b: Tensor | None, groups: int = groups) -> Tensor:
        return func(x, w, b, stride, padding, output_padding, groups, dilation)

    def low_rank(x: Tensor, c: Tensor, u: Tensor, v: Tensor) -> Tensor:
        z = func(x, _pointwise(u.transpose(0, 1).flatten(1), x))
        return run(_scaled(z, c, 1), v.flatten(0, 1), None)

    return _convolution("transposed convolution", input, weight, bias, run, groups, low_rank)


def _pointwise(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix as the kernel of a convolution of x."""
    return matrix.reshape(*matrix.shape, *[1] * (x.dim() - 2))


def _convolution(
    name: str,
    x: Tensor,
    weight: Any,
    bias: Any,
    run: Callable[..., Tensor],
    groups: int,
    low_rank: Callable[..., Tensor],
) -> Tensor:
    if x.dim() != weight.ndim:
        raise UnsupportedOperation(f"a {name} has an input without batch dimension")

    def at_once(x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        # (G, m, C, ...) -> (m, G * C, ...): a convolution with as many groups as scalars.
        count = len(weights)
        flat = x.transpose(0, 1).flatten(1, 2)
        biases = biases if biases is None else biases.flatten()
        y = run(flat, weights.flatten(0, 1), biases, count * groups)
        return y.unflatten(1, (count, -1)).transpose(0, 1)

    return _product(name, x, weight, bias, run, at_once, 1, low_rank if groups == 1 else None)


@implements(F.embedding)
def _embedding(func: Callable, input: Tensor, weight: Any, *args: Any, **kwargs: Any) -> Tensor:
    weight.batch.check(input, "embedding")
    options = dict(
        zip(
            ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"),
            args,
            strict=False,
        )
    )
    if any((options | kwargs).get(name) for name in ("max_norm", "scale_grad_by_freq", "sparse")):
        raise UnsupportedOperation("embedding with max_norm, scale_grad_by_freq or sparse")
    y, *steps = (func(input, part, *args, **kwargs) for part in weight.parts)
    return combine(y, weight.batch.c, steps)


def _affine(name: str, y: Tensor, weight: Any, bias: Any, channel: int | None) -> Tensor:
    """y * weight + bias, along the dimension `channel` or, if it is None, the last dimensions."""
    _batch(weight, bias).check(y, name)

    def aligned(value: Any) -> Tensor:
        each = value.each() if isinstance(value, PerSampleWeight) else value[None]
        behind = 0 if channel is None else y.dim() - 1 - channel
        between = y.dim() - each.dim() - behind
        shape = [len(each), *[1] * between, *each.shape[1:], *[1] * behind]
        return each.reshape(shape).to(y.dtype)

    if weight is not None:
        y = y * aligned(weight)
    return y if bias is None else y + aligned(bias)


@implements(F.group_norm)
def _group_norm(
    func: Callable,
    input: Tensor,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *args: Any,
) -> Tensor:
    return _affine("group_norm", func(input, num_groups, eps=eps), weight, bias, 1)


@implements(F.layer_norm)
def _layer_norm(
    func: Callable,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *args: Any,
) -> Tensor:
    return _affine("layer_norm", func(input, normalized_shape, eps=eps), weight, bias, None)


@implements(F.rms_norm)
def _rms_norm(
    func: Callable,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Any = None,
    eps: float | None = None,
) -> Tensor:
    return _affine("rms_norm", func(input, normalized_shape, eps=eps), weight, None, None)


@implements(F.batch_norm)
def _batch_norm(
    func: Callable,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    y = func(input, running_mean, running_var, None, None, *args, **kwargs)
    return _affine("batch_norm", y, weight, bias, 1)


@implements(F.instance_norm)
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
    y = func(input, running_mean, running_var, None, None, *args, **kwargs)
    return _affine("instance_norm", y, weight, bias, 1)


@implements(torch.add, torch.sub, torch.mul, torch.div)
@implements(Tensor.add, Tensor.sub, Tensor.mul, Tensor.div)
def _elementwise(func: Callable, a: Any, b: Any, **kwargs: Any) -> Any:
    """+ - * / of a batch and a weight, or of a weight and a number."""
    weight, other = (a, b) if isinstance(a, PerSampleWeight) else (b, a)
    if isinstance(other, int | float) and weight is a and func.__name__ in ("mul", "div"):
        return weight.map(lambda part: func(part, other))
    weight.batch.check(other, func.__name__)
    # What a weight of shape (C, 1, 1) or (1, L, C) is for a sample of shape (1, C, H, W).
    if weight.ndim == other.dim() and weight.shape[0] == 1:
        each = weight.each()[:, 0]
    elif weight.ndim < other.dim():
        each = weight.each()
        each = each.reshape([len(each), *[1] * (other.dim() - each.dim()), *each.shape[1:]])
    else:
        raise UnsupportedOperation(f"{func.__name__} of these shapes does not support {WEIGHTS}")
    return func(each, other, **kwargs) if weight is a else func(other, each, **kwargs)


@implements(Tensor.expand)
def _expand(func: Callable, weight: Any, *sizes: Any) -> Tensor:
    """A parameter of one row, such as a class token, repeated for the batch."""
    sizes = sizes if isinstance(sizes[0], int) else tuple(sizes[0])
    if len(sizes) != weight.ndim or weight.shape[0] != 1 or sizes[0] != weight.batch.size:
        raise UnsupportedOperation("a parameter is expanded to something else than the batch")
    return weight.each()[:, 0].expand(*sizes)


@implements(torch.t, torch.transpose, torch.permute, torch.reshape, torch.flatten)
@implements(torch.squeeze, torch.unsqueeze, torch.neg)
@implements(Tensor.t, Tensor.transpose, Tensor.permute, Tensor.movedim, Tensor.reshape, Tensor.view)
@implements(Tensor.flatten, Tensor.unflatten, Tensor.squeeze, Tensor.unsqueeze, Tensor.narrow)
@implements(Tensor.contiguous, Tensor.clone, Tensor.to, Tensor.type, Tensor.type_as)
@implements(Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.double)
def _linear_map(func: Callable, weight: Any, *args: Any, **kwargs: Any) -> PerSampleWeight:
    return weight.map(lambda part: func(part, *args, **kwargs))


@implements(torch.chunk, torch.split, torch.unbind, Tensor.chunk, Tensor.split, Tensor.unbind)
def _pieces(func: Callable, weight: Any, *args: Any, **kwargs: Any) -> tuple[PerSampleWeight, ...]:
    pieces = [func(part, *args, **kwargs) for part in weight.parts]
    return tuple(PerSampleWeight(weight.batch, parts) for parts in zip(*pieces, strict=True))


@implements(torch.cat, torch.concat, torch.stack)
def _joined(func: Callable, tensors: Sequence[Any], *args: Any, **kwargs: Any) -> PerSampleWeight:
    batch = _batch(*tensors)
    parts = [filled_parts(tensor, len(batch.c)) for tensor in tensors]
    joined = [func(list(part), *args, **kwargs) for part in zip(*parts, strict=True)]
    return PerSampleWeight(batch, joined)


def filled_parts(value: Any, num_coefficients: int) -> Sequence[Tensor]:
    """The parts of a weight. For a tensor that all samples share, all but the first are zero."""
    if isinstance(value, PerSampleWeight):
        return value.parts
    return [value, *[torch.zeros_like(value)] * num_coefficients]
