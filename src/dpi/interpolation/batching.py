"""Two ways to run a batch in which samples have different scalars.

Grouped: one pass per distinct scalar, over the samples that share it.

Factored: one pass for all samples, without a copy of the weights for each. A convolution, a linear
layer and the affine part of a normalization are linear in their weights,

    L(x; (1 - lambda) theta0 + lambda theta1) = (1 - lambda) L(x; theta0) + lambda L(x; theta1),

so each such layer is run with both parameter sets and its outputs are interpolated per sample.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

FLOPS_PER_PARAMETER = 600
"""Interpolating a parameter, and running smaller passes because of it, takes about as long as this
many FLOPs of the network (measured on CPUs, results/interpolation.md)."""


def run_grouped(
    theta0: nn.Module,
    thetas: Iterable[dict[str, Tensor]],
    sizes: Sequence[int],
    order: Tensor,
    args: tuple,
    kwargs: dict,
) -> Any:
    """Run one pass per distinct scalar.

    Args:
        theta0: the network; what is not in theta(s) is taken from it.
        thetas: theta(s) for each of the G groups.
        sizes: the number of samples in each group.
        order: the permutation that sorts the samples into groups, shape (B,).
        args, kwargs: arguments of the network, the first of them a tensor with B rows.

    Returns:
        The output of the network, in the original order of the samples.
    """
    size, device = len(args[0]), args[0].device
    order = order.to(device)

    def split(value: Any) -> Sequence[Any]:
        if isinstance(value, Tensor) and value.dim() and len(value) == size:
            return value[order].split(sizes)
        return [value] * len(sizes)

    group_args = zip(*map(split, args), strict=True)
    group_kwargs = [{k: split(v)[i] for k, v in kwargs.items()} for i in range(len(sizes))]
    outputs = [
        functional_call(theta0, theta, group, more, tie_weights=False)
        for theta, group, more in zip(thetas, group_args, group_kwargs, strict=True)
    ]
    back = order.argsort()
    return tree_map(lambda *tensors: torch.cat(tensors)[back], *outputs)


LayerFunction = Callable[[Any, Tensor, Any, Any], Tensor]
"""(layer, x, weight, bias) -> the output of the layer with these parameters."""


def _conv(layer: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return layer._conv_forward(x, weight, bias)


def _conv_transpose(function: Callable[..., Tensor]) -> LayerFunction:
    def run(layer: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        options = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return function(x, weight, bias, *options)

    return run


def _batch_norm(layer: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    use_batch = layer.training or layer.running_mean is None
    mean, var = (None, None) if use_batch else (layer.running_mean, layer.running_var)
    return F.batch_norm(x, mean, var, weight, bias, training=use_batch, eps=layer.eps)


SUPPORTED_LAYERS: dict[type[nn.Module], LayerFunction] = {
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.ConvTranspose1d: _conv_transpose(F.conv_transpose1d),
    nn.ConvTranspose2d: _conv_transpose(F.conv_transpose2d),
    nn.ConvTranspose3d: _conv_transpose(F.conv_transpose3d),
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
"""Layers that can be factored: exactly these types, since a subclass may override forward."""


class FactorizationError(ValueError):
    """A network cannot be run factored; the message gives the reason."""


def unsupported_reason(sets: Sequence[nn.Module], doubled: set[str]) -> str | None:
    """Why a network cannot be run factored, or None if it can.

    It can if there are two sets and each doubled parameter belongs to one of SUPPORTED_LAYERS.

    Args:
        sets: theta0, theta1 and on.
        doubled: names of the interpolated parameters.
    """
    if len(sets) > 2:
        return f"there are {len(sets)} parameter sets"
    for name, module in sets[0].named_modules():
        own = {
            parameter
            for parameter in module._parameters
            if (f"{name}.{parameter}" if name else parameter) in doubled
        }
        # nn.MultiheadAttention, for one, reads the weights of its projection without calling it.
        if own and (type(module) not in SUPPORTED_LAYERS or not own <= {"weight", "bias"}):
            kind = type(module).__name__
            return f"{name or 'the network'} ({kind}) is not a convolution, linear layer or norm"
    return None


def run_factored(
    theta0: nn.Module, theta1: nn.Module, weights: Tensor, args: tuple, kwargs: dict
) -> Any:
    """Run one pass in which the output of every doubled layer is interpolated.

    Args:
        theta0, theta1: the two sets; what theta1 lacks is shared.
        weights: lambda for each sample, shape (B,).
        args, kwargs: arguments of the network. The first dimension is the batch throughout.

    Returns:
        The output of the network.

    Raises:
        FactorizationError: the first dimension of a layer's output is not the batch.
    """
    twins = dict(theta1.named_modules())
    handles = []

    def interpolate_output(name: str, layer: nn.Module) -> Callable[..., Tensor]:
        run, twin = SUPPORTED_LAYERS[type(layer)], twins[name]

        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            if len(output) != len(weights):
                raise FactorizationError(
                    f"the output of {name} has {len(output)} samples, not {len(weights)}"
                )
            ambiguous = output.dim() > 2 and output.shape[1] == len(weights)
            if ambiguous and type(layer) in (nn.Linear, nn.LayerNorm):
                raise FactorizationError(
                    f"the output of {name} has as many rows as there are samples"
                )
            weight = layer.weight if twin.weight is None else twin.weight
            bias = layer.bias if twin.bias is None else twin.bias
            other = run(layer, inputs[0], weight, bias)
            shape = [-1] + [1] * (output.dim() - 1)
            return torch.lerp(output, other, weights.reshape(shape).to(output.dtype))

        return hook

    try:
        for name, layer in theta0.named_modules():
            if type(layer) in SUPPORTED_LAYERS and any(
                p is not None for p in twins[name]._parameters.values()
            ):
                handles.append(layer.register_forward_hook(interpolate_output(name, layer)))
        return theta0(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()


def flops_per_sample(net: nn.Module, args: tuple, kwargs: dict) -> float:
    """FLOPs of a forward pass per sample, counted on the meta device; inf if that fails."""

    def to_meta(value: Any) -> Any:
        return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value

    # All names of a tied tensor, but one for a layer that occurs twice; see parameter_index.
    state = {
        f"{prefix}.{name}" if prefix else name: to_meta(tensor)
        for prefix, module in net.named_modules()
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]
        if tensor is not None
    }
    try:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            meta_args = tuple(map(to_meta, args))
            meta_kwargs = {k: to_meta(v) for k, v in kwargs.items()}
            functional_call(net, state, meta_args, meta_kwargs, tie_weights=False)
    except Exception:  # a third-party network may need the values of its tensors
        return float("inf")
    return counter.get_total_flops() / len(args[0])
