"""A scalar for every sample in one pass, without weights for every sample.

A convolution, a linear layer and the affine part of a normalisation are linear in their weights:

    L(x; (1 - lambda) theta0 + lambda theta1) = (1 - lambda) L(x; theta0) + lambda L(x; theta1),

so each such layer is run with both sets and its outputs are interpolated, a sample at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

FLOPS_A_PARAMETER = 600
"""Interpolating a parameter once, and the smaller passes that follow, cost about as much as so
many operations of the network (measured on CPUs, results/interpolation.md)."""


Layer = Callable[[Any, Tensor, Any, Any], Tensor]
"""(layer, x, weight, bias) to what the layer would give with these."""


def _convolve(layer: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return layer._conv_forward(x, weight, bias)


def _convolve_transposed(convolve: Callable[..., Tensor]) -> Layer:
    def run(layer: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        how = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return convolve(x, weight, bias, *how)

    return run


def _batch_norm(layer: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    own = layer.training or layer.running_mean is None
    mean, var = (None, None) if own else (layer.running_mean, layer.running_var)
    return F.batch_norm(x, mean, var, weight, bias, training=own, eps=layer.eps)


LAYERS: dict[type[nn.Module], Layer] = {
    nn.Conv1d: _convolve,
    nn.Conv2d: _convolve,
    nn.Conv3d: _convolve,
    nn.ConvTranspose1d: _convolve_transposed(F.conv_transpose1d),
    nn.ConvTranspose2d: _convolve_transposed(F.conv_transpose2d),
    nn.ConvTranspose3d: _convolve_transposed(F.conv_transpose3d),
    nn.Linear: lambda layer, x, weight, bias: F.linear(x, weight, bias),
    nn.GroupNorm: lambda layer, x, weight, bias: F.group_norm(
        x, layer.num_groups, weight, bias, layer.eps
    ),
    nn.LayerNorm: lambda layer, x, weight, bias: F.layer_norm(
        x, layer.normalized_shape, weight, bias, layer.eps
    ),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
}
"""How a layer is run with other weights. Of exactly these types: a subclass may do as it likes."""


class Unfactorable(ValueError):
    """A network cannot be run factored; says what is why."""


def why_not_factored(sets: Sequence[nn.Module], doubled: set[str]) -> str | None:
    """What keeps a network from being run factored, None if nothing does: there are two sets, and
    every doubled parameter belongs to one of LAYERS."""
    if len(sets) > 2:
        return f"there are {len(sets)} parameter sets"
    for name, module in sets[0].named_modules():
        own = {
            parameter
            for parameter in module._parameters
            if (f"{name}.{parameter}" if name else parameter) in doubled
        }
        # Attention takes the weights of a projection of its own without calling it.
        if own and (type(module) not in LAYERS or not own <= {"weight", "bias"}):
            kind = type(module).__name__
            return f"{name or 'the network'} ({kind}) is no convolution, linear layer or norm"
    return None


def run_factored(
    theta0: nn.Module, theta1: nn.Module, weights: Tensor, args: tuple, kwargs: dict
) -> Tensor:
    """f(theta0, ...) with every layer's output interpolated.

    Args:
        theta0, theta1: the two sets; what theta1 lacks is shared.
        weights: (B,), lambda for each sample.
        args, kwargs: of the network; samples lie along the first dimension throughout.

    Raises:
        Unfactorable: a layer's output has not as many samples.
    """
    twins = dict(theta1.named_modules())
    handles = []

    def interpolate_output(name: str, layer: nn.Module) -> Callable[..., Tensor]:
        run, twin = LAYERS[type(layer)], twins[name]

        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            if len(output) != len(weights):
                raise Unfactorable(f"{name} gives {len(output)} samples, not {len(weights)}")
            ambiguous = output.dim() > 2 and output.shape[1] == len(weights)
            if ambiguous and type(layer) in (nn.Linear, nn.LayerNorm):
                raise Unfactorable(f"{name} gives as many rows as there are samples")
            weight = layer.weight if twin.weight is None else twin.weight
            bias = layer.bias if twin.bias is None else twin.bias
            other = run(layer, inputs[0], weight, bias)
            shape = [-1] + [1] * (output.dim() - 1)
            return torch.lerp(output, other, weights.reshape(shape).to(output.dtype))

        return hook

    try:
        for name, layer in theta0.named_modules():
            if type(layer) in LAYERS and any(
                p is not None for p in twins[name]._parameters.values()
            ):
                handles.append(layer.register_forward_hook(interpolate_output(name, layer)))
        return theta0(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()


def count_sample(net: nn.Module, args: tuple, kwargs: dict) -> float:
    """Operations of one sample's forward pass, from shapes alone; infinite if they do not tell."""

    def shape_of(value: Any) -> Any:
        return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value

    # Every use of a tied tensor, but a layer that is used twice only once, as in network.py.
    state = {
        f"{prefix}.{name}" if prefix else name: shape_of(tensor)
        for prefix, module in net.named_modules()
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]
        if tensor is not None
    }
    try:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            arguments = tuple(map(shape_of, args))
            keywords = {k: shape_of(v) for k, v in kwargs.items()}
            functional_call(net, state, arguments, keywords, tie_weights=False)
    except Exception:  # whatever a stranger's network does with tensors without numbers
        return float("inf")
    return counter.get_total_flops() / len(args[0])
