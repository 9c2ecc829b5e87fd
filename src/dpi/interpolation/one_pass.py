"""Many scalars in one pass: `torch.vmap` over groups of samples that share a scalar."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_unflatten

from dpi.interpolation.affine import Affine, Parts
from dpi.interpolation.batch import Arguments, Output

Sets = Sequence[dict[str, Tensor]]
"""The interpolated parameters in theta0, theta1 and on, by their names."""


def combine(w: Tensor, values: Sequence[Tensor]) -> Tensor:
    """One parameter, sum_k w_k theta_k, computed in float32 or higher.

    Args:
        w: weights that sum to one, (K,) for one scalar or (K, G).
        values: the parameter in theta_0, theta_1 and on.

    Returns:
        Shaped as the parameter, or (G, ...). Where the sets are equal, it equals them.
    """
    dtype = values[0].dtype
    precise = dtype if dtype.is_complex else torch.promote_types(dtype, torch.float32)
    first, *others = (value.to(precise) for value in values)
    weights = w.to(precise)
    if w.dim() > 1:
        weights = weights.reshape(*w.shape, *[1] * first.dim())
    if len(others) == 1:
        return torch.lerp(first, others[0], weights[1]).to(dtype)
    total = first.expand(*w.shape[1:], *first.shape)
    for w_k, other in zip(weights[1:], others, strict=True):
        total = total + w_k * (other - first)
    return total.to(dtype)


def one_pass(
    net: nn.Module,
    layers: Iterable[Affine],
    sets: Sets,
    w: Tensor,
    arguments: Arguments,
    index: Tensor | None,
    n: int,
    guard: AbstractContextManager[None],
) -> Output:
    """Run a network on G groups of n samples, each group with parameters of its own.

    Args:
        net: theta0.
        layers: those of its layers that are affine.
        sets: its interpolated parameters.
        w: the weights of each group, (K, G).
        arguments: of the network.
        index: the samples, group by group, (G * n,); None for all, in their order.
        guard: around the call of the network.

    Returns:
        The output for the G * n samples.

    Raises:
        Exception: whatever `vmap` cannot do, and what the network raises.
    """
    names = {id(parameter): name for name, parameter in sets[0].items()}
    of_layer = {}
    for layer in layers:
        found = {k: names[id(p)] for k, p in layer._parameters.items() if id(p) in names}
        if "weight" in found:
            of_layer[layer] = found
    differences = {
        # A view: `Originals` refuses the parameter itself.
        name: [sets[0][name].view_as(sets[0][name]), *(v[name] - sets[0][name] for v in sets[1:])]
        for name in {name for found in of_layer.values() for name in found.values()}
    }
    all_parts = [
        [
            {**(layer._parameters if k == 0 else {}), **{p: differences[n][k] for p, n in found.items()}}
            for k in range(len(sets))
        ]
        for layer, found in of_layer.items()
    ]
    others = {
        names[id(p)]
        for module in net.modules()
        if module not in of_layer
        for p in module._parameters.values()
        if id(p) in names
    }
    theta = {name: combine(w, [values[name] for values in sets]) for name in others}
    # With a batch of unknown size, groups of convolutions would be unknown, too.
    bounded = torch.compiler.is_exporting()
    made: list[Output] = []

    def run(w: Tensor, theta: dict[str, Tensor], *leaves: Any) -> list[Tensor]:
        for layer, parts in zip(of_layer, all_parts, strict=True):
            layer.parts = Parts(w[1:], parts, bounded)
        try:
            args, kwargs = tree_unflatten(leaves, arguments.spec)
            output = Output(functional_call(net, theta, args, kwargs), n)
        finally:
            for layer in of_layer:
                layer.parts = None
        made.append(output)
        return [leaf for leaf in output.leaves if isinstance(leaf, Tensor)]

    leaves = arguments.in_groups(index, n)
    in_dims = (1, 0, *(0 if split else None for split in arguments.split))
    # Other kernels of attention cannot be batched on CPUs.
    kernel = sdpa_kernel(SDPBackend.MATH) if w.device.type == "cpu" else nullcontext()
    with guard, kernel:
        tensors = iter(vmap(run, in_dims, randomness="different")(w, theta, *leaves))
    output = made[0]
    output.leaves = [
        next(tensors).flatten(0, 1) if isinstance(leaf, Tensor) else leaf for leaf in output.leaves
    ]
    return output
