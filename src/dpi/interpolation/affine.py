"""Layers that are affine in their parameters, with the parameters theta(s) of many scalars.

For sum_k w_k theta_k with weights that sum to one, an affine layer L(x; theta) computes one of two
things that are equal,

    L(x; theta_0 + sum_k w_k (theta_k - theta_0)) = L(x; theta_0) + sum_k w_k L(x; theta_k - theta_0).

On the left every scalar has weights of its own, which `torch.vmap` turns into a grouped convolution
or a batched product. On the right no scalar has, at the price of K products.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dpi.precision import cast

AFFINE = (
    *(nn.Linear, nn.Bilinear, nn.Embedding),
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""By their exact types: a subclass may do something else."""

POSITIONS = {"cpu": 96}
"""With as many positions (pixels or tokens of all samples of a scalar), interpolating a layer's
weights costs less than a second product. Measured by benchmarks/interpolation.py. On other devices,
where it is not measured, K products."""

MEMORY = 4.0
"""The interpolated weights of a layer take at most this multiple of the memory of its input."""


class Parts:
    """What one pass knows of an affine layer.

    Args:
        w: the weights w_1 ... w_{K-1} of the pass, a tensor of shape (K - 1,).
        parts: theta_0, theta_1 - theta_0, ... of the layer by the names of its parameters.
        bounded: whether the sizes of arrays must not depend on the number of scalars.
    """

    def __init__(self, w: Tensor, parts: Sequence[Mapping[str, Tensor]], bounded: bool) -> None:
        self.w, self.parts, self.bounded = w, parts, bounded
        self.k: int | None = None
        """The part that is computed; None for the interpolated parameters."""

    def read(self, name: str) -> Tensor | None:
        """A parameter, as the layer and whoever else reads it sees it."""
        if self.k is not None:
            value = self.parts[self.k].get(name)
            return None if value is None else cast(value)
        first, *others = (part.get(name) for part in self.parts)
        for w_k, other in zip(self.w, others, strict=True):
            first = first if other is None else weighted(first, w_k, other)
        return None if first is None else cast(first)


def weighted(total: Tensor, w: Tensor, value: Tensor) -> Tensor:
    """total + w value for a weight of shape (), which keeps its precision in half precision."""
    if total.dtype == value.dtype == w.dtype or total.is_complex():
        return torch.addcmul(total, w.to(total.dtype), value)
    precise = torch.promote_types(total.dtype, w.dtype)
    return torch.addcmul(total.to(precise), w.to(precise), value.to(precise)).to(total.dtype)


class Affine(nn.Module):
    """Mixed into the classes of a network's affine layers, in place. Without `parts`, which are
    there during one pass, a layer is what it was."""

    parts: Parts | None = None
    plain: type[nn.Module]
    """The layer's class before."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's own forward pass, or one with many theta(s)."""
        parts = self.parts
        if parts is None:
            return super().forward(*args, **kwargs)
        args = tuple(cast(arg) if isinstance(arg, Tensor) else arg for arg in args)
        kwargs = {k: cast(arg) if isinstance(arg, Tensor) else arg for k, arg in kwargs.items()}
        x = args[0] if args else kwargs["input"]
        if not parts.bounded and _interpolates(self, x):
            return super().forward(*args, **kwargs)
        try:
            parts.k = 0
            y = super().forward(*args, **kwargs)
            for k, w in enumerate(parts.w, start=1):
                parts.k = k
                y = weighted(y, w, super().forward(*args, **kwargs))
        finally:
            parts.k = None
        if getattr(self, "padding_idx", None) is not None:  # its row has no gradient
            y = torch.where((x == self.padding_idx)[..., None], y.detach(), y)
        return y


def _interpolates(layer: nn.Module, x: Tensor) -> bool:
    if isinstance(layer, nn.Bilinear | nn.Embedding):
        return False
    channels = x.shape[-1] if isinstance(layer, nn.Linear) else layer.in_channels
    few = POSITIONS.get(x.device.type, float("inf"))
    size = layer._parameters["weight"].numel()
    return x.numel() >= few * channels and size <= MEMORY * x.numel()


def _parameter(name: str) -> property:
    def read(self: Any) -> Tensor | None:
        if name not in self._parameters:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return self._parameters[name] if self.parts is None else self.parts.read(name)

    return property(read)


def _class(kind: type[nn.Module]) -> type[nn.Module]:
    names = ["weight"] if kind is nn.Embedding else ["weight", "bias"]
    members = {"plain": kind, **{name: _parameter(name) for name in names}}
    made = type(f"Interpolated{kind.__name__}", (Affine, kind), members)
    made.__module__ = __name__
    return made


CLASSES = {kind: _class(kind) for kind in AFFINE}
globals().update({made.__name__: made for made in CLASSES.values()})  # for pickle


def prepare(layer: nn.Module) -> None:
    """Change the class of a layer in place, if its output is affine in its parameters and their
    gradients depend on its own samples alone."""
    if not (getattr(layer, "max_norm", None) or getattr(layer, "scale_grad_by_freq", False)):
        layer.__class__ = CLASSES.get(type(layer), type(layer))
