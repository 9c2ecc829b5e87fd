"""Many scalars in one pass: `torch.vmap` over groups of samples that share a scalar."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_unflatten

from dpi.interpolation.affine import Affine, Parts
from dpi.interpolation.batch import check_output, select
from dpi.interpolation.sets import Sets


def one_pass(
    layers: Iterable[Affine],
    sets: Sets,
    w: Tensor,
    arguments: tuple[tuple, dict[str, Any]],
    dims: tuple[tuple, dict[str, Any]],
    index: Tensor,
    guard: AbstractContextManager[None],
) -> Any:
    """Run a network on G groups of n samples, each group with parameters of its own.

    Args:
        layers: those of its layers that are affine.
        sets: its parameters.
        w: the weights of the sets for each group, (K, G).
        arguments, dims: of the network, and the dimensions of the samples in them.
        index: the samples of each group, (G, n).
        guard: around the call of the network.

    Returns:
        The output for the G * n samples, group by group.

    Raises:
        Exception: whatever `vmap` cannot do, and what the network raises.
    """
    modules = sets.modules
    parts = {layer: _parts(layer, sets) for layer in layers}
    parts = {layer: found for layer, found in parts.items() if "weight" in found}
    others = {
        sets.names[id(p)]
        for module in modules
        if module not in parts
        for p in module._parameters.values()
        if p is not None and id(p) in sets.names  # PyTorch 2.11 cannot compile id(None)
    }
    buffers = [(module, dict(module._buffers)) for module in modules if module._buffers]
    hooked = [m for m in modules if m._backward_hooks or m._backward_pre_hooks]
    compiling = torch.compiler.is_compiling()
    made: list[Any] = []
    """The leaves of the output and their structure."""

    def run(w: Tensor, theta: dict[str, Tensor], args: tuple, kwargs: dict) -> list[Tensor]:
        if hooked:
            raise RuntimeError(f"{type(hooked[0]).__name__} has backward hooks, which see no vmap")
        for layer, values in parts.items():
            own: dict[str, Any] = layer._parameters.copy()
            if compiling:
                own = {leaf: theta[sets.names[id(own[leaf])]] for leaf in values}
            layer.parts = Parts(w, values, own)
        try:
            output = functional_call(modules[0], theta, args, kwargs, tie_weights=False)
        finally:
            for layer in parts:
                layer.parts = None
        check_output(output, index.shape[1])
        for module, before in buffers:
            if any(module._buffers.get(name) is not buffer for name, buffer in before.items()):
                raise RuntimeError(f"{type(module).__name__} replaces a buffer")
        made.extend(tree_flatten(output))
        return [leaf for leaf in made[0] if isinstance(leaf, Tensor)]

    # Other kernels of attention cannot be batched on CPUs.
    kernel = sdpa_kernel(SDPBackend.MATH) if w.device.type == "cpu" else nullcontext()
    # A compiled network is not watched by `Originals`: all parameters are replaced.
    theta = sets.theta(w, None if compiling else others)
    w = torch.cat([torch.ones_like(w[:1]), w[1:]])  # of the differences
    batched = vmap(run, (1, 0, *dims), randomness="different")
    groups = select(arguments, dims, index)
    with guard, kernel:
        tensors = iter(batched(w, theta, *groups))
    leaves, spec = made
    whole = (next(tensors).flatten(0, 1) if isinstance(x, Tensor) else x for x in leaves)
    return tree_unflatten(whole, spec)


def _parts(layer: Affine, sets: Sets) -> dict[str, list[Tensor]]:
    """theta_0, theta_1 - theta_0, ... of a layer's interpolated parameters."""
    found = {}
    for leaf, parameter in layer._parameters.items():
        if parameter is not None and id(parameter) in sets.names:
            first, *others = sets.values[sets.names[id(parameter)]]
            # A view: `Originals` refuses the parameter itself.
            found[leaf] = [first.view_as(first), *(other - first for other in others)]
    return found
