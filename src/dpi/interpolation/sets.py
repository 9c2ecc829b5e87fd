"""The parameter sets theta_0 ... theta_{K-1} of a network, and theta(s) = sum_k w_k(s) theta_k."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


class Sets:
    """The interpolated parameters as they are now.

    Args:
        thetas: theta0, theta1 and on.
        doubled, common: names of the interpolated parameters and of the others of theta0; a tied
            one is listed under its first name.

    Raises:
        RuntimeError: there are other parameters, or parameters that are sharded or quantized.
    """

    def __init__(
        self, thetas: Sequence[nn.Module], doubled: Collection[str], common: Collection[str]
    ) -> None:
        self.modules = walk(thetas[0])
        """The modules of theta0 and their names; one in several places has several."""
        self.values: dict[str, list[Tensor]] = {name: [] for name in doubled}
        """The parameter in theta_0, theta_1 and on, by its name."""
        self.names: dict[int, str] = {}
        """The names, by the ids of theta0's parameters."""
        self.first: dict[str, str] = {}
        """The names, by one name for each place where a module holds the parameter."""
        for k, theta in enumerate(thetas):
            found: dict[int, str] = {}
            places: set[tuple[int, str]] = set()
            for prefix, module in walk(theta) if k else self.modules:
                for leaf, p in module._parameters.items():
                    if p is None or (id(module), leaf) in places:
                        continue
                    name = f"{prefix}{leaf}"
                    first = found.setdefault(id(p), name)
                    places.add((id(module), leaf))
                    if first == name in self.values:
                        self.values[name].append(p)
                    if k == 0 and first in self.values:
                        self.first[name] = first
            different = {*doubled, *([] if k else common)}.symmetric_difference(found.values())
            if different:
                raise RuntimeError(
                    f"the parameters of theta{k} changed since `interpolate` "
                    f"({', '.join(sorted(different)[:3])}); change the network before"
                )
        for name, (parameter, *_) in self.values.items():
            if is_traceable_wrapper_subclass(parameter):
                raise RuntimeError(
                    f"theta0.{name} is a {type(parameter).__name__} while it is interpolated; "
                    "shard the interpolated network as one, fully_shard(net), without its parts; "
                    "quantize net.at(s)"
                )
            self.names[id(parameter)] = name

    def theta(self, w: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """theta for weights w, (K,) or (K, G), by all names that parameters have in f; of some
        parameters or of all."""
        weights = {}
        theta = {}
        for name in self.values if names is None else names:
            values = self.values[name]
            dtype = values[0].dtype
            if dtype not in weights:
                weights[dtype] = w.to(precise(dtype))
            theta[name] = combine(weights[dtype], values)
        return {name: theta[first] for name, first in self.first.items() if first in theta}


def walk(net: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """All modules and their prefixes, such as "encoder.0."; one in two places is there twice."""
    found = [(prefix, net)]
    for name, child in net._modules.items():
        if child is not None:
            found += walk(child, f"{prefix}{name}.")
    return found


def precise(dtype: torch.dtype) -> torch.dtype:
    """The precision in which parameters are interpolated: float32 or higher."""
    return dtype if dtype.is_complex else torch.promote_types(dtype, torch.float32)


def combine(w: Tensor, values: Sequence[Tensor]) -> Tensor:
    """One parameter, sum_k w_k theta_k.

    Args:
        w: weights that sum to one, (K,) for one scalar or (K, G), of the precision of `precise`.
        values: the parameter in theta_0, theta_1 and on.

    Returns:
        Shaped as the parameter, or (G, ...). Where the sets are equal, it equals them.
    """
    dtype = values[0].dtype
    if w.dim() > 1:
        w = w.reshape(*w.shape, *[1] * values[0].dim())
    first, *others = values if w.dtype == dtype else [value.to(w.dtype) for value in values]
    if len(others) == 1:
        total = torch.lerp(first, others[0], w[1])
    else:
        total = first + sum(w_k * (other - first) for w_k, other in zip(w[1:], others, strict=True))
    return total if w.dtype == dtype else total.to(dtype)
