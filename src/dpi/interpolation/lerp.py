"""theta(s) = (1 - lambda) theta0 + lambda theta1 over all tensors of a network at once."""

from collections.abc import Sequence

import torch
from torch import Tensor


class _Lerp(torch.autograd.Function):
    # Written out because autograd's own way would keep theta1 - theta0 for the backward pass and
    # launch several kernels a tensor; a network has hundreds of tensors, most of them tiny.

    @staticmethod
    def forward(ctx, weight: Tensor, *thetas: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weight, *thetas)
        half = len(thetas) // 2
        theta0, theta1 = thetas[:half], thetas[half:]
        theta = torch._foreach_sub(theta1, theta0)
        torch._foreach_mul_(theta, weight)
        torch._foreach_add_(theta, theta0)
        return tuple(theta)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, *thetas = ctx.saved_tensors
        half = len(thetas) // 2
        grad1 = torch._foreach_mul(grads, weight)
        grad0 = torch._foreach_sub(grads, grad1)
        grad_weight = None
        if ctx.needs_input_grad[0]:
            # d theta / d lambda = theta1 - theta0
            steps = torch._foreach_sub(thetas[half:], thetas[:half])
            products = torch._foreach_mul(steps, grads)
            grad_weight = torch.stack([product.sum() for product in products]).sum()
        return grad_weight, *grad0, *grad1


def lerp(theta0: Sequence[Tensor], theta1: Sequence[Tensor], weight: Tensor) -> tuple[Tensor, ...]:
    """Equation (2)'s parameters, theta0 + weight (theta1 - theta0), in a handful of kernels.

    Args:
        theta0, theta1: as many tensors each, equal in shape pairwise.
        weight: lambda(s), zero-dimensional, in [0, 1].

    Returns:
        The interpolated tensors; differentiable with respect to all three arguments.
    """
    return _Lerp.apply(weight, *theta0, *theta1)
