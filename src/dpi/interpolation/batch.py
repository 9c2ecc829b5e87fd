"""A batch of many scalars: which samples share one, their arguments, and their outputs."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor, nn

# PyTorch's trees have no public name yet; torch.func is made of them.
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from dpi.interpolation.scalar import holds

SHARED_KINDS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
"""Arguments that belong to all samples."""


def differentiable(s: Tensor) -> bool:
    """Whether derivatives with respect to s are taken."""
    try:
        return s.requires_grad or fwAD.unpack_dual(s).tangent is not None
    except RuntimeError:  # of a dual number under vmap
        return True


def distinguishable(s: Tensor) -> bool:
    """Whether scalars can be looked at, and equal ones have the same derivatives, none."""
    return not differentiable(s) and holds(s == s) is not None


def groups(s: Tensor) -> list[list[int]]:
    """The samples of each distinct scalar, in the order of their first samples.

    Args:
        s: distinguishable scalars of the samples, (B,).
    """
    found: dict[float, list[int]] = {}
    for i, value in enumerate(s.tolist()):
        found.setdefault(value, []).append(i)
    return list(found.values())


def dimensions(
    net: nn.Module, args: tuple, kwargs: dict[str, Any], size: int, shared: Sequence[str]
) -> tuple[tuple, dict[str, Any]]:
    """The dimension of the samples in all arguments of a network, as `torch.vmap` has it.

    Args:
        net: the network.
        args, kwargs: its arguments.
        size: B, the number of samples.
        shared: names of arguments that belong to all samples.

    Returns:
        Like (args, kwargs): 0 for tensors whose first dimension has one entry for each sample,
        None for what belongs to all samples: tensors without dimensions or with one row, numbers,
        strings and the like, and what is named in `shared`.

    Raises:
        ValueError: it is not clear whether an argument is to be split.
    """

    def of(name: str, value: Any) -> Any:
        if name in shared:
            return tree_map(lambda leaf: None, value)
        listed = isinstance(value, list | tuple) and len(value) == size
        if listed and not any(isinstance(leaf, Tensor) for leaf in tree_leaves(value)):
            raise ValueError(
                f"{name} has as many items as there are samples; pass a tensor, or "
                f"shared=[{name!r}] to interpolate"
            )
        return tree_map(lambda leaf: _dimension(name, leaf, size), value)

    parameters = inspect.signature(net.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"argument {i}" for i in range(len(names), len(args))]
    of_args = tuple(of(name, value) for name, value in zip(names, args, strict=False))
    of_kwargs = {name: of(name, value) for name, value in kwargs.items()}
    if 0 not in tree_leaves((of_args, of_kwargs)):
        raise ValueError(f"s has {size} scalars, but no argument has {size} samples")
    return of_args, of_kwargs


def _dimension(name: str, leaf: Any, size: int) -> int | None:
    declare = f"pass one row for each sample, or shared=[{name!r}] to interpolate"
    if not isinstance(leaf, Tensor):
        if isinstance(leaf, SHARED_KINDS) or callable(leaf):
            return None
        raise ValueError(f"{name} holds a {type(leaf).__name__}, not split by sample; {declare}")
    if leaf.dim() == 0 or (leaf.shape[0] == 1 and size != 1):
        return None
    if leaf.shape[0] != size:
        shape = tuple(leaf.shape)
        raise ValueError(f"{name} has shape {shape} in a batch of {size} scalars; {declare}")
    return 0


def select(arguments: Any, dims: Any, index: Tensor) -> Any:
    """The arguments of the samples `index`, (n,) or in groups, (G, n)."""

    def rows(leaf: Any, dim: int | None) -> Any:
        if dim is None:
            return leaf
        some = leaf.index_select(0, index.flatten().to(leaf.device, non_blocking=True))
        return some.unflatten(0, index.shape)

    return tree_map(rows, arguments, dims)


def check_output(output: Any, n: int) -> None:
    """Raise ValueError if a tensor's first dimension is not that of the n samples."""
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    for tensor in tensors:
        # A state of (1 layer, 1 sample, ...) looks like one of (1 sample, 1 channel, ...).
        unclear = len(tensors) > 1 and tensor.shape[:2] == (1, 1)
        if tensor.shape[:1] != (n,) or unclear:
            raise ValueError(
                f"an output of shape {tuple(tensor.shape)} for {n} samples has no clear sample "
                "dimension: wrap the network, so that all outputs have the batch first"
            )


def join(outputs: Iterable[tuple[Tensor, Any]]) -> Any:
    """The output for all samples.

    Args:
        outputs: the samples, (n,), and the output for them, of each part of the batch.

    Raises:
        ValueError: the parts differ in more than the values of tensors.
    """
    indices, values = zip(*outputs, strict=True)
    order = torch.cat(indices).argsort()
    columns, specs = zip(*map(tree_flatten, values), strict=True)
    if any(spec != specs[0] for spec in specs):
        raise ValueError("the outputs for different scalars differ in structure; return tensors")

    def leaf(first: Any, *others: Any) -> Any:
        if isinstance(first, Tensor):
            whole = torch.cat([first, *others])
            return whole.index_select(0, order.to(whole.device, non_blocking=True))
        if any(other is not first and other != first for other in others):
            raise ValueError(
                f"an output is {first!r} for one scalar and differs for another; return a "
                "tensor with one value for each sample"
            )
        return first

    return tree_unflatten(map(leaf, *columns), specs[0])
