"""theta(s), piecewise linear between the parameter sets, for several scalars at once."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


class _Lerp(torch.autograd.Function):
    # Autograd's own way would write and add up a gradient of every set for every scalar. Each is
    # a sum over scalars, so one small matrix product gives them all.

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
        # d theta / d theta_k = 1 - f and d theta / d theta_{k+1} = f, in segment k
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
    """Between which sets each lambda lies, and how far: segments k, (G,), and fractions, (G,)."""
    if num_sets == 2:
        # The paper's case, for every parameter in every pass: there is nothing to find.
        return torch.zeros_like(weights, dtype=torch.long), weights
    position = weights * (num_sets - 1)
    segments = position.floor().clamp(max=num_sets - 2)
    return segments.long(), position - segments


def lerp(weights: Tensor, *sets: Tensor) -> Sequence[Tensor]:
    """Equation (2)'s parameters, theta0 + lambda (theta1 - theta0), for each lambda.

    With K sets lambda runs over K - 1 segments of equal length, linearly in each.

    Args:
        weights: (G,), lambda at G scalars, in [0, 1].
        sets: one parameter's K values, of the same shape.

    Returns:
        G tensors of the parameter's shape: a set exactly where lambda reaches it, and the common
        value where they are equal; differentiable with respect to all arguments.
    """
    return _Lerp.apply(weights, *sets).unbind()
