"""A batch of many scalars: which samples share one, their arguments, and their outputs."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor, nn

# PyTorch's trees have no public name yet; torch.func is made of them.
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from dpi.interpolation.scalar import holds


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


class Arguments:
    """The arguments of a network for a batch, to be split by sample.

    Tensors whose first dimension has one entry for each sample are split. Tensors without
    dimensions or with one row, numbers, strings and the like belong to all samples, and so does
    what is named in `shared`.

    Args:
        net: the network.
        args, kwargs: its arguments.
        size: B, the number of samples.
        shared: names of arguments that belong to all samples.

    Raises:
        ValueError: it is not clear whether an argument is to be split.
    """

    def __init__(
        self, net: nn.Module, args: tuple, kwargs: dict[str, Any], size: int, shared: Sequence[str]
    ) -> None:
        self.size = size
        self.leaves, self.spec = tree_flatten((args, kwargs))
        parameters = inspect.signature(net.forward).parameters.values()
        names = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        names += [f"argument {i}" for i in range(len(names), len(args))]
        self.split: list[bool] = []
        """Which leaves are split."""
        for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
            leaves = tree_flatten(value)[0]
            if name in shared:
                self.split += [False] * len(leaves)
                continue
            if isinstance(value, list | tuple) and len(value) == size and not _tensors(leaves):
                raise ValueError(
                    f"{name} has as many items as there are samples; pass a tensor, or "
                    f"shared=[{name!r}] to interpolate"
                )
            self.split += [_is_split(name, leaf, size) for leaf in leaves]
        if not any(self.split):
            raise ValueError(f"s has {size} scalars, but no argument has {size} samples")

    def map(self, function: Callable[[Tensor], Tensor]) -> list[Any]:
        """The leaves, function(leaf) of those that are split."""
        pairs = zip(self.leaves, self.split, strict=True)
        return [function(leaf) if split else leaf for leaf, split in pairs]

    def of(self, index: Tensor) -> tuple[tuple, dict[str, Any]]:
        """The arguments for some of the samples."""
        leaves = self.map(lambda x: x.index_select(0, index.to(x.device, non_blocking=True)))
        return tree_unflatten(leaves, self.spec)

    def in_groups(self, index: Tensor | None, n: int) -> list[Any]:
        """The leaves, (G, n, ...) of those that are split, for samples (G * n,); None for all."""
        leaves = self.leaves if index is None else tree_flatten(self.of(index))[0]
        pairs = zip(leaves, self.split, strict=True)
        return [x.unflatten(0, (-1, n)) if split else x for x, split in pairs]

    def kind(self) -> Any:
        """What may decide which way a network takes, apart from the values of tensors."""
        leaves = (
            (leaf.dtype, leaf.dim(), leaf.requires_grad)
            if isinstance(leaf, Tensor)
            else leaf
            if isinstance(leaf, bool | int | str | None)
            else type(leaf)
            for leaf in self.leaves
        )
        return str(self.spec), tuple(self.split), tuple(leaves)


PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
"""Arguments that belong to all samples."""


def _is_split(name: str, leaf: Any, size: int) -> bool:
    declare = f"pass one row for each sample, or shared=[{name!r}] to interpolate"
    if not isinstance(leaf, Tensor):
        if not (isinstance(leaf, PLAIN) or callable(leaf)):
            raise ValueError(
                f"{name} holds a {type(leaf).__name__}, not split by sample; {declare}"
            )
        return False
    if leaf.dim() == 0 or (leaf.shape[0] == 1 and size != 1):
        return False
    if leaf.shape[0] != size:
        shape = tuple(leaf.shape)
        raise ValueError(f"{name} has shape {shape} in a batch of {size} scalars; {declare}")
    return True


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


class Output:
    """The output of a network for n samples.

    Args:
        value: any structure of tensors.
        n: the number of samples.

    Raises:
        ValueError: a tensor's first dimension is not the batch.
    """

    leaves: list[Any]
    spec: TreeSpec

    def __init__(self, value: Any, n: int) -> None:
        self.leaves, self.spec = tree_flatten(value)
        tensors = _tensors(self.leaves)
        for tensor in tensors:
            # A state of (1 layer, 1 sample, ...) looks like one of (1 sample, 1 channel, ...).
            unclear = len(tensors) > 1 and tensor.shape[:2] == (1, 1)
            if tensor.shape[:1] != (n,) or unclear:
                raise ValueError(
                    f"an output of shape {tuple(tensor.shape)} for {n} samples has no clear sample "
                    "dimension: wrap the network, so that all outputs have the batch first"
                )


def join(outputs: Sequence[Output], size: int, order: list[int] | None = None) -> Any:
    """The output for all samples.

    Args:
        outputs: for each part of the batch, which may have further rows at the end.
        size: the number of samples.
        order: the samples in the order of the outputs; None if they are sorted.

    Raises:
        ValueError: the parts differ in more than the values of tensors.
    """
    first = outputs[0]
    if any(output.spec != first.spec for output in outputs):
        raise ValueError("the outputs for different scalars differ in structure; return tensors")

    def leaf(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Tensor):
            whole = torch.cat(list(values)) if len(values) > 1 else values[0]
            if order is None or order == sorted(order):
                return whole[:size]
            return whole.index_select(
                0, torch.tensor(order, device="cpu").argsort().to(whole.device, non_blocking=True)
            )
        if any(value is not values[0] and value != values[0] for value in values):
            raise ValueError(
                f"an output is {values[0]!r} for one scalar and differs for another; return a "
                "tensor with one value for each sample"
            )
        return values[0]

    columns = zip(*(output.leaves for output in outputs), strict=True)
    return tree_unflatten([leaf(values) for values in columns], first.spec)
