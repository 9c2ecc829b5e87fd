"""Floating-point operations of a forward pass, as the paper counts them and in truth; of a step."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from dpi.architectures.adm import ResidualBlock
from dpi.interpolation import Interpolated

Accounting = Literal["paper", "true"]

WITH_BIAS = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def count_flops(
    model: nn.Module, x: Tensor, s: Tensor | float, accounting: Accounting = "paper"
) -> int:
    """Count the floating-point operations of model(x, s).

    "true": two for each multiply-add of every convolution, linear layer and matrix product,
    attention included, one a bias, and (2)'s two multiply-adds for each parameter that is
    interpolated and each set beyond the first.

    "paper": what the printed GFLOPs of Table 4 come to. Convolutions and linear layers two a
    multiply-add, and one a bias; transposed convolutions as if every output position saw the
    whole kernel (with stride 2, four times the true count); group norms one an element;
    scale-shift two an element; attention nothing; interpolation four a parameter of a
    (transposed) convolution.

    Args:
        model: g(x, s), in any mode; on the "meta" device the count costs no arithmetic.
        x: (B, C, H, W), on the model's device. Table 4 counts one 3 x 64 x 64 image.
        s: a scalar for all of them.
        accounting: "paper" or "true".

    Raises:
        ValueError: another accounting.
    """
    if accounting not in ("paper", "true"):
        raise ValueError(f"accounting must be 'paper' or 'true', got {accounting!r}")
    counter = _count_paper if accounting == "paper" else _count_true
    training = model.training
    try:
        with torch.no_grad():
            return counter(model.eval(), x, s)
    finally:
        model.train(training)


def _count_true(model: nn.Module, x: Tensor, s: Tensor | float) -> int:
    flops = 0

    def bias(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        flops += output.numel() if module.bias is not None else 0

    def interpolation(module: Interpolated, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        theta0 = dict(module.theta0.named_parameters())
        parameters = sum(theta0[name].numel() for name in module.doubled)
        flops += 4 * parameters * (module.num_sets - 1)

    with FlopCounterMode(display=False) as products:
        _run_hooked(model, {WITH_BIAS: bias, Interpolated: interpolation}, x, s)
    return flops + products.get_total_flops()


def _count_paper(model: nn.Module, x: Tensor, s: Tensor | float) -> int:
    flops = 0

    def convolution(module: nn.Conv2d, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        kernel = module.weight.numel() // module.out_channels
        flops += output.numel() * (2 * kernel + (module.bias is not None))

    def transposed(module: nn.ConvTranspose2d, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        kernel = module.weight.numel() // module.weight.shape[1]
        flops += output.numel() * (2 * kernel + (module.bias is not None))

    def norm(module: nn.GroupNorm, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        flops += output.numel()

    def linear(module: nn.Linear, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        flops += output.numel() * (2 * module.in_features + (module.bias is not None))

    def scale_shift(module: ResidualBlock, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        if module.project is not None:
            flops += 2 * output.numel()

    def interpolation(module: Interpolated, inputs: tuple, output: Tensor) -> None:
        nonlocal flops
        doubled = {module.theta0.get_parameter(name) for name in module.doubled}
        interpolated = sum(
            parameter.numel()
            for layer in module.theta0.modules()
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            for parameter in layer.parameters()
            if parameter in doubled
        )
        flops += 4 * interpolated * (module.num_sets - 1)

    hooks = {
        nn.Conv2d: convolution,
        nn.ConvTranspose2d: transposed,
        nn.GroupNorm: norm,
        nn.Linear: linear,
        ResidualBlock: scale_shift,
        Interpolated: interpolation,
    }
    _run_hooked(model, hooks, x, s)
    return flops


def _run_hooked(
    model: nn.Module, hooks: dict[type | tuple, Callable], x: Tensor, s: Tensor | float
) -> None:
    handles = [
        module.register_forward_hook(hook)
        for kind, hook in hooks.items()
        for module in model.modules()
        if isinstance(module, kind)
    ]
    try:
        model(x, s)
    finally:
        for handle in handles:
            handle.remove()


def step_flops(step: Callable[[int], object]) -> int:
    """Count the floating-point operations of a step, its backward pass included.

    Two for each multiply-add of a convolution, linear layer or matrix product.

    Args:
        step: step(n) takes step n. Two are taken, and the second is counted.
    """
    step(0)  # the first step also finds out whether one pass can run a batch of many scalars
    ours = {torch.ops.aten.convolution_backward: _backward_flops}
    with FlopCounterMode(display=False, custom_mapping=ours) as counter:
        step(1)
    return counter.get_total_flops()


def _backward_flops(
    gradient: Sequence[int], x: Sequence[int], weight: Sequence[int], *options: Any, out_shape: Any
) -> int:
    """Of a convolution: as many as in its forward pass for each of the gradients of x and weight.
    PyTorch's own count takes every group for a convolution of all channels."""
    *_, transposed, _padding, _groups, needed = options
    return conv_flop_count(x, weight, gradient, transposed) * sum(needed[:2])
