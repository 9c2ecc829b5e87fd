"""The parameter sets theta_0 ... theta_{K-1} of a network, and theta(s) = sum_k w_k(s) theta_k."""

from collections.abc import Collection, Iterable, Sequence

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
        modules = [list(theta.named_modules()) for theta in thetas]
        named = [_by_place(of_theta) for of_theta in modules]
        for k, parameters in enumerate(named):
            first = {id(p): name for name, p in reversed(parameters.items())}
            known = {*doubled, *([] if k else common)}
            if different := known.symmetric_difference(first.values()):
                raise RuntimeError(
                    f"the parameters of theta{k} changed since `interpolate` "
                    f"({', '.join(sorted(different)[:3])}); change the network before"
                )
        self.modules = [module for _, module in modules[0]]
        """Those of theta0."""
        self.values = {name: [parameters[name] for parameters in named] for name in doubled}
        """The parameter in theta_0, theta_1 and on, by its name."""
        self.names = {id(values[0]): name for name, values in self.values.items()}
        """The names, by the ids of theta0's parameters."""
        self.places = {
            place: self.names[id(p)] for place, p in named[0].items() if id(p) in self.names
        }
        """The names, by one name for each place where a module holds the parameter."""
        for name, (parameter, *_) in self.values.items():
            if is_traceable_wrapper_subclass(parameter):
                raise RuntimeError(
                    f"theta0.{name} is a {type(parameter).__name__}, which cannot be interpolated: "
                    f"exclude=[{name!r}], quantize net.at(s), or shard the interpolated network as "
                    "one, fully_shard(net), without its parts"
                )

    def theta(self, w: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """theta for weights w, (K,) or (K, G), by all names that parameters have in f; of some
        parameters or of all."""
        names = self.values if names is None else names
        theta = {name: combine(w, self.values[name]) for name in names}
        return {place: theta[name] for place, name in self.places.items() if name in theta}


def _by_place(modules: Iterable[tuple[str, nn.Module]]) -> dict[str, nn.Parameter]:
    """The parameters; one that several modules hold is there several times."""
    return {
        f"{prefix}.{leaf}" if prefix else leaf: parameter
        for prefix, module in modules
        for leaf, parameter in module._parameters.items()
        if parameter is not None
    }


def combine(w: Tensor, values: Sequence[Tensor]) -> Tensor:
    """One parameter, sum_k w_k theta_k, computed in float32 or higher.

    Args:
        w: weights that sum to one, (K,) for one scalar or (K, G).
        values: the parameter in theta_0, theta_1 and on.

    Returns:
        Shaped as the parameter, or (G, ...). Where the sets are equal, it equals them.
    """
    first, *others = values
    if first.dtype.itemsize < 4:
        return combine(w, [value.float() for value in values]).to(first.dtype)
    if w.dtype != first.dtype:
        w = w.to(first.dtype)
    if w.dim() > 1:
        w = w.reshape(*w.shape, *[1] * first.dim())
    if len(others) == 1:
        return torch.lerp(first, others[0], w[1])
    return first + sum(w_k * (other - first) for w_k, other in zip(w[1:], others, strict=True))
