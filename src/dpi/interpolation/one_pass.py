"""Many scalars in one pass: `torch.vmap` over groups of samples that share a scalar."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_unflatten

from dpi.interpolation.affine import Affine, Parts
from dpi.interpolation.batch import Arguments, Output
from dpi.interpolation.sets import Sets


def one_pass(
    sets: Sets,
    layers: Iterable[Affine],
    w: Tensor,
    arguments: Arguments,
    index: Tensor | None,
    n: int,
    guard: AbstractContextManager[None],
) -> Output:
    """Run a network on G groups of n samples, each group with parameters of its own.

    Args:
        sets: the parameters of the network.
        layers: those of its layers that are affine.
        w: the weights of the sets for each group, (K, G).
        arguments: of the network.
        index: the samples, group by group, (G * n,); None for all, in their order.
        n: samples of a group.
        guard: around the call of the network.

    Returns:
        The output for the G * n samples.

    Raises:
        Exception: whatever `vmap` cannot do, and what the network raises.
    """
    net = sets.modules[0][1]
    parts = {layer: _parts(layer, sets) for layer in layers}
    parts = {layer: found for layer, found in parts.items() if "weight" in found}
    others = {
        sets.names[id(p)]
        for _, module in sets.modules
        if module not in parts
        for p in module._parameters.values()
        if p is not None and id(p) in sets.names  # PyTorch 2.11 cannot compile id(None)
    }
    buffers = [(m, dict(m._buffers)) for _, m in sets.modules if m._buffers]
    hooked = [m for _, m in sets.modules if m._backward_hooks or m._backward_pre_hooks]
    compiling = torch.compiler.is_compiling()
    made: list[Output] = []

    def run(w: Tensor, theta: dict[str, Tensor], *leaves: Any) -> list[Tensor]:
        if hooked:
            raise RuntimeError(f"{type(hooked[0]).__name__} has backward hooks, which see no vmap")
        for layer, values in parts.items():
            own: dict[str, Any] = layer._parameters.copy()
            if compiling:
                own = {leaf: theta[sets.names[id(own[leaf])]] for leaf in values}
            layer.parts = Parts(w, values, own)
        try:
            args, kwargs = tree_unflatten(leaves, arguments.spec)
            value = functional_call(net, theta, args, kwargs, tie_weights=False)
            made.append(Output(value, n))
        finally:
            for layer in parts:
                layer.parts = None
        for module, before in buffers:
            if any(module._buffers.get(name) is not buffer for name, buffer in before.items()):
                raise RuntimeError(f"{type(module).__name__} replaces a buffer")
        return [leaf for leaf in made[0].leaves if isinstance(leaf, Tensor)]

    leaves = arguments.in_groups(index, n)
    in_dims = (1, 0, *(0 if split else None for split in arguments.split))
    # Other kernels of attention cannot be batched on CPUs.
    kernel = sdpa_kernel(SDPBackend.MATH) if w.device.type == "cpu" else nullcontext()
    # A compiled network is not watched by `Originals`: all parameters are replaced.
    theta = sets.theta(w, None if compiling else others)
    w = torch.cat([torch.ones_like(w[:1]), w[1:]])  # of the differences
    with guard, kernel:
        tensors = iter(vmap(run, in_dims, randomness="different")(w, theta, *leaves))
    output = made[0]
    output.leaves = [
        next(tensors).flatten(0, 1) if isinstance(leaf, Tensor) else leaf for leaf in output.leaves
    ]
    return output


def _parts(layer: Affine, sets: Sets) -> dict[str, list[Tensor]]:
    """theta_0, theta_1 - theta_0, ... of a layer's interpolated parameters."""
    found = {}
    for leaf, parameter in layer._parameters.items():
        if parameter is not None and id(parameter) in sets.names:
            first, *others = sets.values[sets.names[id(parameter)]]
            # A view: `Originals` refuses the parameter itself.
            found[leaf] = [first.view_as(first), *(other - first for other in others)]
    return found
