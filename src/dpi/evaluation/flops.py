"""Floating-point operations of a forward pass, as the paper counts them and in truth; of a step."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from dpi.architectures.adm import ResidualBlock
from dpi.interpolation import Interpolated

Accounting = Literal["paper", "true"]

LAYERS = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""Those with a bias."""


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
        model: g(x, s); on the "meta" device the count costs no arithmetic.
        x: (B, C, H, W), on the model's device. Table 4 counts one 3 x 64 x 64 image.
        s: a scalar for all of them.
        accounting: "paper" or "true".

    Raises:
        ValueError: another accounting.
    """
    if accounting not in ("paper", "true"):
        raise ValueError(f"accounting must be 'paper' or 'true', got {accounting!r}")
    count, counted = (_paper if accounting == "paper" else _beside_products), []

    def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
        counted.append(count(module, output))

    with (
        register_module_forward_hook(hook),
        torch.no_grad(),
        FlopCounterMode(display=False) as products,
    ):
        model(x, s)
    return sum(counted) + (products.get_total_flops() if accounting == "true" else 0)


def _paper(module: nn.Module, output: Tensor) -> int:
    """What the paper counts of a module's call."""
    match module:
        case nn.Conv2d() | nn.ConvTranspose2d() | nn.Linear():
            transposed = isinstance(module, nn.ConvTranspose2d)
            kernel = module.weight.numel() // module.weight.shape[1 if transposed else 0]
            return output.numel() * (2 * kernel + (module.bias is not None))
        case nn.GroupNorm():
            return output.numel()
        case ResidualBlock():
            return 2 * output.numel() if module.project is not None else 0
        case Interpolated():
            return _interpolation(module, (nn.Conv2d, nn.ConvTranspose2d))
    return 0


def _beside_products(module: nn.Module, output: Tensor) -> int:
    """What a module's call adds to its multiplications."""
    if isinstance(module, Interpolated):
        return _interpolation(module, nn.Module)
    is_layer = isinstance(module, LAYERS)
    return output.numel() if is_layer and module.bias is not None else 0


def _interpolation(module: Interpolated, kinds: Any) -> int:
    """Two multiply-adds for each number of these layers and each set beyond the first."""
    numbers = sum(
        module.theta0.get_parameter(name).numel()
        for name in module.doubled
        if isinstance(module.theta0.get_submodule(name.rpartition(".")[0]), kinds)
    )
    return 4 * numbers * (module.num_sets - 1)


def step_flops(step: Callable[[int], object]) -> int:
    """Count the floating-point operations of a step, its backward pass included.

    Two for each multiply-add of a convolution, linear layer or matrix product.

    Args:
        step: step(n) takes step n; it has been taken before, which also finds out whether one pass
            can run a batch of many scalars.
    """
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
