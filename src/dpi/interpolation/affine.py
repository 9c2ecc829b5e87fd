"""Layers that are affine in their parameters, with the parameters theta(s) of many scalars.

For sum_k w_k theta_k with weights that sum to one, an affine layer L(x; theta) computes one of two
things that are equal,

    L(x; theta_0 + sum_k w_k (theta_k - theta_0))
        = L(x; theta_0) + sum_k w_k L(x; theta_k - theta_0).

On the left every scalar has weights of its own, which `torch.vmap` turns into a grouped convolution
or a batched product. On the right no scalar has, at the price of K products.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dpi.interpolation.state import refuse_recomputation
from dpi.precision import autocast_off, cast

CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
AFFINE = (nn.Linear, nn.Embedding, *CONVOLUTIONS)
"""By their exact types: a subclass may do something else."""

POSITIONS = {"cpu": 96}
"""With as many positions (pixels or tokens of all samples of a scalar), interpolating a layer's
weights costs less than a second product, on the CPU with DRUNet and ADM. On other devices, where it
is not measured, K products."""

MEMORY = 4.0
"""The interpolated weights of a layer take at most this multiple of the memory of its input."""


class Parts:
    """What one pass knows of an affine layer.

    Args:
        w: the weights 1, w_1 ... w_{K-1} of these values, a tensor of shape (K,).
        values: theta_0, theta_1 - theta_0, ... of the layer's interpolated parameters, by name.
        own: what the layer holds in their place.
    """

    def __init__(
        self, w: Tensor, values: Mapping[str, Sequence[Tensor]], own: Mapping[str, Tensor | None]
    ) -> None:
        self.w, self.values, self.own = w, values, own
        self.k: int | None = None
        """The part that is computed; None for the interpolated parameters."""
        self.made: dict[str, Tensor] = {}
        """What was read outside of the layer, where the network may have written into it."""
        self.running = False
        """Whether the layer's own forward pass is running."""
        self.casting = False
        """Whether to convert to autocast's type, which vmap hides convolutions from on CPUs."""

    def read(self, name: str, now: Tensor | None) -> Tensor | None:
        """A parameter, as the layer and whoever else reads it sees it."""
        value = now
        if name in self.values and now is self.own[name]:  # not shared, and not replaced
            if self.k is None or (name == "bias" and self.k == 0):  # the bias is added once
                value = self.made.get(name)
                value = interpolated(self.w, self.values[name]) if value is None else value
                if not self.running:
                    self.made[name] = value
            elif name == "weight":
                value = self.values[name][self.k]
        if self.k and name == "bias":
            return None
        return cast(value) if self.casting and value is not None else value


def interpolated(w: Tensor, values: Sequence[Tensor]) -> Tensor:
    """sum_k w_k values_k for w_0 = 1. As a product: its backward pass reads the gradient of all
    scalars twice, that of multiplications and sums five times."""
    dtype = values[0].dtype
    precise = torch.promote_types(dtype, w.dtype)
    with autocast_off(w.device):
        return torch.tensordot(w.to(precise), torch.stack(tuple(values)).to(precise), 1).to(dtype)


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

    def forward(self, input: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's own forward pass, or one with many theta(s)."""
        run, x, parts = super().forward, input, self.parts
        if parts is None or self._parameters["weight"] is not parts.own["weight"]:
            return run(x, *args, **kwargs)
        try:
            parts.running = True
            if not isinstance(self, nn.Embedding):  # which autocast leaves alone
                parts.casting, x = True, cast(x)
            if parts.made or _interpolates(self, x):
                return run(x, *args, **kwargs)
            parts.k = 0
            y = run(x, *args, **kwargs)
            for k, w in zip(range(1, len(parts.w)), parts.w[1:], strict=True):
                parts.k = k
                y = weighted(y, w, run(x, *args, **kwargs))
        finally:
            parts.k, parts.running, parts.casting = None, False, False
        if getattr(self, "padding_idx", None) is not None:  # its row has no gradient
            y = torch.where((input == self.padding_idx)[..., None], y.detach(), y)
        return y


def _interpolates(layer: Any, x: Tensor) -> bool:
    linear = isinstance(layer, nn.Linear)
    # A compiled convolution has a fixed number of groups, and batches differ in size.
    fixed = torch.compiler.is_compiling() and not linear
    if fixed or isinstance(layer, nn.Embedding):
        return False
    few = POSITIONS.get(x.device.type, float("inf"))
    few *= x.shape[-1] if linear else layer.in_channels
    return x.numel() >= max(few, layer._parameters["weight"].numel() / MEMORY)


def _parameter(name: str) -> property:
    def read(self: Any) -> Tensor | None:
        if name not in self._parameters:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        now = self._parameters[name]
        if self.parts is not None:
            return self.parts.read(name, now)
        refuse_recomputation(self)
        return now

    def write(self: Any, value: Tensor) -> None:  # of a wrapper that took the parameter away
        self._parameters[name] = value

    return property(read, write)


def _class(kind: type[nn.Module]) -> type[nn.Module]:
    names = ["weight"] if kind is nn.Embedding else ["weight", "bias"]
    members = {"plain": kind, **{name: _parameter(name) for name in names}}
    made = type(f"Interpolated{kind.__name__}", (Affine, kind), members)
    made.__module__ = __name__
    return made


CLASSES: dict[type[nn.Module], type[nn.Module]] = {kind: _class(kind) for kind in AFFINE}
globals().update({made.__name__: made for made in CLASSES.values()})  # for pickle


def prepare(layer: nn.Module) -> None:
    """Change the class of a layer in place, if its output is affine in its parameters and their
    gradients depend on its own samples alone."""
    others = getattr(layer, "max_norm", None) or getattr(layer, "scale_grad_by_freq", False)
    if not others:
        layer.__class__ = CLASSES.get(type(layer), type(layer))


def restore(layer: nn.Module) -> None:
    """The inverse of `prepare`."""
    if isinstance(layer, Affine):
        layer.__class__ = layer.plain  # type: ignore[assignment]
