"""g(x, s) = f(theta(s), x): any network, told a scalar through its parameters (Section 3.1)."""

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from dpi.interpolation.baked import Baked
from dpi.interpolation.factored import (
    FLOPS_A_PARAMETER,
    Unfactorable,
    count_sample,
    run_factored,
    why_not_factored,
)
from dpi.interpolation.function import InterpolationFunction
from dpi.interpolation.lerp import lerp

Mode = Literal["auto", "grouped", "factored"]


class Interpolated(nn.Module):
    """A network f with two parameter sets, run with

        theta(s) = (1 - lambda(s)) theta0 + lambda(s) theta1.                      (2)

    `theta0` is the network that was given, `theta1` its twin: both have the network's own
    parameter names, so that either half of the state dict loads into the plain network. Buffers
    (batch statistics, say) and parameters that are not doubled belong to theta0 alone. With more
    sets, theta2 and on, lambda runs over them in turn.

    Build one with `interpolate`.
    """

    theta0: nn.Module
    theta1: nn.Module

    def __init__(
        self, sets: Sequence[nn.Module], interpolation: InterpolationFunction, mode: Mode = "auto"
    ) -> None:
        super().__init__()
        for k, theta in enumerate(sets):
            self.add_module(f"theta{k}", theta)
        self.interpolation = interpolation
        self.num_sets = len(sets)
        self.mode = mode
        self.doubled = [name for name, _ in sets[1].named_parameters()]
        """The parameters that are interpolated, a tied one under the first of its names."""
        self._slots = slots(sets[1])
        self._unfactorable = why_not_factored(sets, set(self._slots))
        self._sample_flops: dict[tuple[int, ...], float] = {}

    def sets(self) -> list[nn.Module]:
        """theta0, theta1 and on."""
        return [self.get_submodule(f"theta{k}") for k in range(self.num_sets)]

    def parameters_at(self, s: Tensor) -> list[dict[str, Tensor]]:
        """theta(s) for each of the scalars s, (G,), under the network's parameter names."""
        weights = self.interpolation(s)
        sets = [dict(theta.named_parameters()) for theta in self.sets()]
        values = [lerp(weights, *(theta[name] for theta in sets)) for name in self.doubled]
        return [
            {name: theta[i] for name, i in self._slots.items()}
            for theta in zip(*values, strict=True)
        ]

    def forward(self, x: Tensor, s: Tensor | float, *args: Any, **kwargs: Any) -> Any:
        """Run the network on x, told s.

        Args:
            x: (B, ...), whatever the network takes.
            s: one scalar for the batch, or (B,), one a sample: integer steps in [0, S-1] or
                floats in [0, 1]. Kept on the CPU, s costs a GPU no synchronisation.
            args, kwargs: whatever else the network takes; of tensors with B rows each sample
                sees its own.

        Returns:
            What the network returns, for each sample what it would give alone.

        Raises:
            ValueError: s is out of range, or its shape is neither () nor (B,).
        """
        s = torch.as_tensor(s)
        if s.numel() == 1:
            (theta,) = self.parameters_at(s.reshape(1))
            return functional_call(self.theta0, theta, (x, *args), kwargs, tie_weights=False)
        if s.shape != x.shape[:1]:
            raise ValueError(
                f"s must be one scalar or one for each of the {len(x)} samples, "
                f"got shape {tuple(s.shape)}"
            )
        order = s.argsort(stable=True)
        scalars, counts = s[order].unique_consecutive(return_counts=True)
        if self._runs_factored(len(scalars), (x, *args), kwargs):
            weights = self.interpolation(s).to(x.device)
            try:
                return run_factored(self.theta0, self.theta1, weights, (x, *args), kwargs)
            except Unfactorable as reason:
                self._unfactorable = str(reason)
                self._fall_back()
        return self._run_grouped(scalars, counts, order, (x, *args), kwargs)

    def _run_grouped(
        self, scalars: Tensor, counts: Tensor, order: Tensor, args: tuple, kwargs: dict
    ) -> Any:
        """One pass for each distinct scalar, over the samples that share it."""
        size, device = len(args[0]), args[0].device
        order = order.to(device)
        sizes = counts.tolist()

        def parts(value: Any) -> Sequence[Any]:
            if isinstance(value, Tensor) and value.dim() and len(value) == size:
                return value[order].split(sizes)
            return [value] * len(sizes)

        positional = zip(*map(parts, args), strict=True)
        keywords = [{k: parts(v)[i] for k, v in kwargs.items()} for i in range(len(sizes))]
        # Gradients need every theta(s) at once; without them each is let go after its pass.
        chunks = [scalars] if torch.is_grad_enabled() else scalars.split(1)
        thetas = (theta for chunk in chunks for theta in self.parameters_at(chunk))
        outputs = [
            functional_call(self.theta0, theta, group, more, tie_weights=False)
            for theta, group, more in zip(thetas, positional, keywords, strict=True)
        ]
        back = order.argsort()
        return tree_map(lambda *tensors: torch.cat(tensors)[back], *outputs)

    def _runs_factored(self, num_scalars: int, args: tuple, kwargs: dict) -> bool:
        compiled = self.theta0._compiled_call_impl is not None
        if num_scalars == 1 or self.mode == "grouped" or compiled:
            return False
        if self._unfactorable:
            if self.mode == "factored":
                self._fall_back()
            return False
        if self.mode == "factored":
            return True
        shape = args[0].shape[1:]
        if shape not in self._sample_flops:
            self._sample_flops[shape] = count_sample(self.theta0, args, kwargs)
        network = len(args[0]) * self._sample_flops[shape]
        doubled = sum(parameter.numel() for parameter in self.theta1.parameters())
        return num_scalars * doubled * FLOPS_A_PARAMETER > network

    def _fall_back(self) -> None:
        self.mode = "grouped"
        warnings.warn(f"run grouped, not factored: {self._unfactorable}", stacklevel=4)

    @torch.no_grad()
    def at(self, s: Tensor | float) -> nn.Module:
        """The plain network for one scalar: a copy with the parameters theta(s), and no trace of
        interpolation, to export, compile or hand on.

        Raises:
            ValueError: s is out of range or not one scalar.
        """
        s = torch.as_tensor(s)
        if s.numel() != 1:
            raise ValueError(f"at takes one scalar, got shape {tuple(s.shape)}")
        (theta,) = self.parameters_at(s.reshape(1))
        net = copy.deepcopy(self.theta0)
        for name, parameter in net.named_parameters():
            if name in theta:
                parameter.copy_(theta[name])
        return net

    def bake(self, scalars: Iterable[Tensor | float]) -> Baked:
        """Interpolate once for each scalar that a sampler is going to use; takes a network's
        memory for each."""
        return Baked(self.at, [torch.as_tensor(s) for s in scalars], self.interpolation.num_scalars)

    def extra_repr(self) -> str:
        total = sum(parameter.numel() for parameter in self.theta0.parameters())
        doubled = sum(parameter.numel() for parameter in self.theta1.parameters())
        shared = [name for name, _ in self.theta0.named_parameters() if name not in self.doubled]
        more = f"; shared: {', '.join(shared)}" if shared else ""
        return (
            f"{self.num_sets} sets of {doubled:,} of {total:,} parameters, mode={self.mode}{more}"
        )


def slots(net: nn.Module) -> dict[str, int]:
    """Where each parameter is used: names to places in net.parameters().

    A tied parameter has a name for each of its uses, but a layer that is used twice is named
    once: functional_call would put its parameter back twice, the second time the wrong one.
    """
    places = {id(parameter): place for place, parameter in enumerate(net.parameters())}
    return {
        f"{prefix}.{name}" if prefix else name: places[id(parameter)]
        for prefix, module in net.named_modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    }
