"""Arguments and outputs of a network: split by sample, and assembled from groups of samples."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten

Dims = Any
"""A dimension or None, or a structure of them, as in_dims and out_dims of `torch.vmap`."""


def take(
    args: tuple,
    kwargs: dict[str, Any],
    size: int,
    index: Tensor,
    names: Sequence[str],
    in_dims: Mapping[str, Dims],
) -> tuple[tuple, dict[str, Any]]:
    """The arguments for some of the samples.

    Args:
        args, kwargs: arguments for the whole batch.
        size: B, the number of samples.
        index: which samples, on the CPU.
        names: names of the positional arguments.
        in_dims: the dimension that is the batch, by name. Not in it: the first dimension of
            tensors with B rows; tensors without dimensions or with one row, numbers, strings and
            the like are passed unchanged.

    Raises:
        ValueError: it is not clear whether an argument is to be split.
    """
    found = False

    def leaf(name: str, value: Any, dim: Any) -> Any:
        nonlocal found
        if dim is None:
            return value
        declare = f"declare its batch dimension: in_dims={{{name!r}: ...}}, None if it has none"
        if not isinstance(value, Tensor):
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                return _map_fields(lambda v: split(name, v, dim), value)
            if isinstance(value, PLAIN) or callable(value):
                return value
            raise ValueError(f"{name} has a {type(value).__name__}, not split by sample; {declare}")
        if dim == "auto":
            if value.dim() == 0 or (value.shape[0] == 1 and size > 1):
                return value
            dim = 0
        if value.dim() <= dim or value.shape[dim] != size:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} in a batch of {size} scalars; {declare}"
            )
        found = True
        return value.index_select(dim, index.to(value.device, non_blocking=True))

    def split(name: str, value: Any, dims: Dims) -> Any:
        leaves, spec = tree_flatten(value)
        flat = _broadcast_to_and_flatten(dims, spec)
        if flat is None:
            raise ValueError(f"in_dims[{name!r}] = {dims} does not have the structure of {name}")
        plain = isinstance(value, list) and not any(isinstance(item, Tensor) for item in leaves)
        if plain and len(value) == size and "auto" in flat:
            raise ValueError(
                f"{name} is a list of as many items as there are samples; pass a tensor, or "
                f"in_dims={{{name!r}: None}} if it is the same for all samples"
            )
        return tree_unflatten([leaf(name, v, d) for v, d in zip(leaves, flat, strict=True)], spec)

    names = [*names, *(f"argument {i}" for i in range(len(names), len(args)))]
    new_args = tuple(
        split(name, value, in_dims.get(name, "auto"))
        for name, value in zip(names, args, strict=False)
    )
    new_kwargs = {k: split(k, value, in_dims.get(k, "auto")) for k, value in kwargs.items()}
    if not found:
        raise ValueError(f"s has {size} scalars, but no argument has {size} samples")
    return new_args, new_kwargs


PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
"""Arguments that belong to all samples."""


def assemble(
    outputs: Sequence[Any], sizes: Sequence[int], order: Tensor | None, out_dims: Dims
) -> Any:
    """Put the outputs for groups of samples together.

    Args:
        outputs: any structure of tensors, one for each group.
        sizes: the number of samples in each group.
        order: the permutation that sorts the samples into groups.
        out_dims: the dimension of each tensor that is the batch; None for the first of all.

    Raises:
        ValueError: a tensor does not have the batch there, or something else differs.
    """
    flats, specs = zip(*map(tree_flatten, outputs), strict=True)
    dims = _broadcast_to_and_flatten(0 if out_dims is None else out_dims, specs[0])
    if dims is None or any(spec != specs[0] for spec in specs):
        raise ValueError("the groups' outputs differ in structure from each other or from out_dims")
    several = sum(isinstance(leaf, Tensor) for leaf in flats[0]) > 1

    def leaf(values: Sequence[Any], dim: int) -> Any:
        first = values[0]
        if isinstance(first, Tensor):
            shapes = [tuple(value.shape) for value in values]
            fits = all(len(t) > dim and t[dim] == n for t, n in zip(shapes, sizes, strict=True))
            # A state of (1 layer, 1 sample, ...) looks like one of (1 sample, 1 channel, ...).
            unclear = several and out_dims is None and all(t[:2] == (1, 1) for t in shapes)
            if not fits or unclear:
                raise ValueError(
                    f"an output of shape {shapes[0]} for {sizes[0]} samples cannot be assembled "
                    "from groups of samples; declare its batch dimension: out_dims=..."
                )
            whole = torch.cat(list(values), dim)
            if order is None:
                return whole
            return whole.index_select(dim, order.argsort().to(whole.device, non_blocking=True))
        if dataclasses.is_dataclass(first):
            fields = [
                assemble([getattr(v, f.name) for v in values], sizes, order, out_dims)
                for f in dataclasses.fields(first)
            ]
            return _with_fields(first, fields)
        if any(value != first for value in values):
            raise ValueError(
                f"an output is {first!r} for one group of samples and differs for another; return "
                "a tensor with one value per sample"
            )
        return first

    whole = [leaf(values, dim) for values, dim in zip(zip(*flats, strict=True), dims, strict=True)]
    return tree_unflatten(whole, specs[0])


def _map_fields(function: Callable[[Any], Any], value: Any) -> Any:
    fields = dataclasses.fields(value)
    return _with_fields(value, [function(getattr(value, field.name)) for field in fields])


def _with_fields(value: Any, contents: Sequence[Any]) -> Any:
    changed = copy.copy(value)
    for field, content in zip(dataclasses.fields(value), contents, strict=True):
        object.__setattr__(changed, field.name, content)
    return changed
