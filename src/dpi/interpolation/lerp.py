"""theta(s) = (1 - lambda) theta0 + lambda theta1, for several scalars at once."""

import torch
from torch import Tensor


class _Lerp(torch.autograd.Function):
    # Autograd's own way would write and add up a gradient of theta0 and one of theta1 for every
    # scalar. Both are sums over scalars, so one small matrix product gives them.

    @staticmethod
    def forward(ctx, theta0: Tensor, theta1: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(theta0, theta1, weights)
        return torch.lerp(theta0, theta1, weights.reshape(-1, *[1] * theta0.dim()))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        theta0, theta1, weights = ctx.saved_tensors
        grad = grad.reshape(len(weights), -1)
        # d theta / d theta0 = 1 - lambda, d theta / d theta1 = lambda
        shares = torch.stack([1 - weights, weights]).to(grad.dtype)
        grad0, grad1 = (shares @ grad).unbind()
        grad_weights = None
        if ctx.needs_input_grad[2]:
            # d theta / d lambda = theta1 - theta0
            grad_weights = grad @ (theta1 - theta0).flatten().to(grad.dtype)
        return grad0.reshape(theta0.shape), grad1.reshape(theta1.shape), grad_weights


def lerp(theta0: Tensor, theta1: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Equation (2)'s parameters, theta0 + lambda (theta1 - theta0), for each lambda.

    Args:
        theta0, theta1: one parameter's two values, of the same shape.
        weights: (G,), lambda at G scalars, in [0, 1].

    Returns:
        G tensors of the parameter's shape: theta0 exactly where lambda is 0, theta1 where it is
        1, and both where they are equal; differentiable with respect to all three arguments.
    """
    return _Lerp.apply(theta0, theta1, weights).unbind()
