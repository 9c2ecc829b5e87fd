"""theta(s): piecewise linear interpolation between parameter sets, for several scalars at once."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


class _Lerp(torch.autograd.Function):
    # Autograd would materialize a gradient of every parameter set for every scalar and add them
    # up. Each sum over scalars is a matrix product, so one small product computes them all.

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *sets: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *sets)
        segments, fractions = _segments(weights, len(sets))
        fractions = fractions.reshape([-1] + [1] * sets[0].dim())
        if len(sets) == 2:
            return torch.lerp(*sets, fractions)
        stacked = torch.stack(sets)
        return torch.lerp(stacked[segments], stacked[segments + 1], fractions)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *sets = ctx.saved_tensors
        segments, fractions = _segments(weights, len(sets))
        grad = grad.reshape(len(weights), -1)
        # In segment k, d theta / d theta_k = 1 - f and d theta / d theta_{k+1} = f.
        shares = grad.new_zeros(len(sets), len(weights))
        shares.scatter_(0, segments[None], (1 - fractions).to(grad.dtype)[None])
        shares.scatter_(0, segments[None] + 1, fractions.to(grad.dtype)[None])
        grads = [grad.reshape(sets[0].shape) for grad in (shares @ grad).unbind()]
        grad_weights = None
        if ctx.needs_input_grad[0]:
            # d theta / d lambda = (K - 1) (theta_{k+1} - theta_k)
            differences = [(above - below).flatten() for below, above in pairwise(sets)]
            slopes = grad @ torch.stack(differences, dim=1).to(grad.dtype)
            grad_weights = (len(sets) - 1) * slopes.gather(1, segments[:, None])[:, 0]
            grad_weights = grad_weights.to(weights.dtype)
        return grad_weights, *grads


def _segments(weights: Tensor, num_sets: int) -> tuple[Tensor, Tensor]:
    """The segment k that contains each lambda, (G,), and the fraction f within it, (G,)."""
    if num_sets == 2:
        # The paper's case, computed for every parameter in every pass, has a single segment.
        return torch.zeros_like(weights, dtype=torch.long), weights
    position = weights * (num_sets - 1)
    segments = position.floor().clamp(max=num_sets - 2)
    return segments.long(), position - segments


def lerp(weights: Tensor, *sets: Tensor) -> Sequence[Tensor]:
    """Interpolate one parameter, theta0 + lambda (theta1 - theta0), for several lambda (Eq. 2).

    With K sets, lambda runs over K - 1 segments of equal length and is linear within each.

    Args:
        weights: lambda at G scalars, shape (G,), in [0, 1].
        sets: the K values of the parameter, all of the same shape.

    Returns:
        G tensors of the parameter's shape, differentiable with respect to all arguments. The
        result is exact at the ends of a segment and where the two sets are equal.
    """
    return _Lerp.apply(weights, *sets).unbind()
