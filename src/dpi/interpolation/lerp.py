"""theta(s) for one scalar: all parameters at once, by one autograd node."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor

ParameterSet = Sequence[Tensor]


def lerp(c: Tensor, sets: Sequence[ParameterSet]) -> list[Tensor]:
    """Interpolate between parameter sets, theta_0 + sum_k c_k (theta_k - theta_{k-1}).

    For two sets c is lambda: theta0 + lambda (theta1 - theta0), Equation (2).

    Args:
        c: the coefficients, shape (K - 1,).
        sets: theta0, theta1 and on, K lists of parameters.

    Returns:
        The parameters theta(s), differentiable with respect to all arguments, computed in float32
        or higher and with the dtypes of theta0. Where the sets are equal, theta(s) equals them.
    """
    if _transformed():
        return [interpolated(c, values) for values in zip(*sets, strict=True)]
    return list(_Lerp.apply(c, *(p for theta in sets for p in theta)))


def fractions(weights: Tensor, num_sets: int) -> Tensor:
    """The coefficients c of a lambda that runs through K sets, in segments of equal length:
    theta = theta_0 + sum_k c_k (theta_k - theta_{k-1}), k = 1 ... K-1.

    c_k is 1 beyond segment k, 0 before it, and the fraction of the segment within.

    Args:
        weights: lambda, of any shape.
        num_sets: K.

    Returns:
        Shape (K - 1, *weights.shape).
    """
    if num_sets == 2:
        return weights[None]
    where = weights * (num_sets - 1)
    segment = where.detach().floor().clamp(max=num_sets - 2)
    k = torch.arange(num_sets - 1, device=weights.device).reshape(-1, *[1] * weights.dim())
    within = torch.where(k == segment, where - segment, torch.zeros_like(where))
    return torch.where(k < segment, torch.ones_like(where), within)


def interpolated(c: Tensor, values: Sequence[Tensor]) -> Tensor:
    """One parameter, theta_0 + sum_k c_k (theta_k - theta_{k-1}), for c of shape (K - 1,)."""
    theta, *_ = raised = [precise(value) for value in values]
    for c_k, (below, above) in zip(c, pairwise(raised), strict=True):
        theta = theta + c_k.to(theta.dtype) * (above - below)
    return theta.to(values[0].dtype)


def combine(first: Tensor, c: Tensor, steps: Sequence[Tensor]) -> Tensor:
    """first + sum_n c_n step_n, with the coefficients, (N, B), along the first dimension.

    The coefficients keep their precision where the rest is in half precision.
    """
    total = first
    for c_n, step in zip(c, steps, strict=True):
        dims = max(first.dim(), step.dim())
        total = torch.addcmul(total, c_n.reshape(-1, *[1] * (dims - 1)), step)
    return total.to(first.dtype)


def combine_groups(c: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """part_0 + sum_n c_n part_n for coefficients (N, G): a tensor of shape (G, *part.shape)."""
    if _transformed() or parts[0].is_complex():
        return combine(parts[0][None], c, [part[None] for part in parts[1:]])
    return _CombineGroups.apply(c, *parts)


class _CombineGroups(torch.autograd.Function):
    # Autograd would multiply the gradient by each coefficient before summing it over the groups.

    @staticmethod
    def forward(ctx: Any, c: Tensor, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(c, *parts)
        return combine(parts[0][None], c, [part[None] for part in parts[1:]])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        c, first, *steps = ctx.saved_tensors
        grad = precise(grad).flatten(1)
        rows = torch.cat([torch.ones_like(c[:1]), c]).to(grad.dtype)
        shares = (rows @ grad).unflatten(1, first.shape).to(first.dtype)
        slopes = [grad @ step.flatten().to(grad.dtype) for step in steps]
        return torch.stack(slopes).to(c.dtype), *shares.unbind()


def precise(tensor: Tensor) -> Tensor:
    """The tensor in float32, if its precision is lower."""
    if tensor.dtype in (torch.float32, torch.float64):  # a network has many
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _transformed() -> bool:
    """Whether torch.compile, torch.func or forward-mode AD see the operations one by one."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.maybe_current_level() is not None
        or fwAD._current_level >= 0
    )


class _Lerp(torch.autograd.Function):
    # Autograd would record three nodes and hold three temporaries for every parameter.

    @staticmethod
    def forward(ctx: Any, c: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(c, *tensors)
        theta, *_ = sets = _sets(tensors, len(c) + 1)
        for c_k, (below, above) in zip(c, pairwise(sets), strict=True):
            step = list(torch._foreach_sub(above, below))
            torch._foreach_mul_(step, c_k)
            torch._foreach_add_(step, theta)
            theta = step
        return tuple(v.to(o.dtype) for v, o in zip(theta, tensors, strict=False))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        try:
            c, *tensors = ctx.saved_tensors
        except RuntimeError as error:
            raise RuntimeError(
                "a second backward pass through the interpolated parameters: checkpoint with "
                "use_reentrant=False inside the network, or give retain_graph=True"
            ) from error
        num_sets, size = len(c) + 1, len(grads)
        used = [i for i, grad in enumerate(grads) if grad is not None]
        if not used:
            return None, *[None] * len(tensors)
        given = [precise(grad) for grad in grads if grad is not None]
        sets = [[theta[i] for i in used] for theta in _sets(tensors, num_sets)]
        # d theta / d theta_k = c_k - c_{k+1} with c_0 = 1 and c_K = 0.
        shares = [given, *(list(torch._foreach_mul(given, c_k)) for c_k in c)]
        found: list[Tensor | None] = [None] * (num_sets * size)
        for k, share in enumerate(shares):
            of_set = torch._foreach_sub(share, shares[k + 1]) if k < num_sets - 1 else share
            for i, grad in zip(used, of_set, strict=True):
                found[k * size + i] = grad.to(tensors[i].dtype)
        slopes = None
        if ctx.needs_input_grad[0]:
            slopes = torch.stack([_inner(given, above, below) for below, above in pairwise(sets)])
            slopes = slopes.to(c.dtype)
        return slopes, *found


def _sets(tensors: Sequence[Tensor], num_sets: int) -> list[list[Tensor]]:
    raised = [precise(tensor) for tensor in tensors]
    size = len(raised) // num_sets
    return [raised[k * size : (k + 1) * size] for k in range(num_sets)]


def _flat(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape as vectors, in the order in which a lies in memory."""
    if not a.is_contiguous():  # as with channels_last: flatten would copy
        order = sorted(range(a.dim()), key=a.stride, reverse=True)
        a, b = a.permute(order), b.permute(order)
    return a.flatten(), b.flatten()


def _inner(grads: list[Tensor], above: list[Tensor], below: list[Tensor]) -> Tensor:
    """The sum over all parameters of <grad, theta_k - theta_{k-1}>."""
    steps = torch._foreach_sub(above, below)
    products = [torch.vdot(*_flat(s, g)).real for s, g in zip(steps, grads, strict=True)]
    return torch.stack([p.to(products[0]) for p in products]).sum()
