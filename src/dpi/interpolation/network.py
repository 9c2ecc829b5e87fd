"""g(x, s) = f(theta(s), x): a network conditioned on s through its parameters (Section 3.1)."""

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpi.interpolation.baked import Baked
from dpi.interpolation.batching import (
    FLOPS_PER_PARAMETER,
    FactorizationError,
    flops_per_sample,
    run_factored,
    run_grouped,
    unsupported_reason,
)
from dpi.interpolation.lerp import lerp
from dpi.interpolation.schedule import InterpolationFunction

Mode = Literal["auto", "grouped", "factored"]


class Interpolated(nn.Module):
    """A network f with two parameter sets, run with the parameters

        theta(s) = (1 - lambda(s)) theta0 + lambda(s) theta1.                      (2)

    `theta0` is the given network and `theta1` has the same structure. Both use the network's own
    parameter names, so that either half of the state dict can be loaded into the plain network.
    Buffers (running statistics, for example) and parameters that are not doubled belong to theta0
    alone. With more than two sets, theta2 and on, lambda runs through them in order.

    Use `interpolate` to create one.

    Args:
        sets: theta0, theta1 and on; the first holds what the others share.
        interpolation: lambda.
        mode: how a batch with several distinct scalars is run, see `interpolate`.
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
        """Names of the interpolated parameters; a tied one is listed under its first name."""
        self._parameter_index = parameter_index(sets[1])
        self._unsupported = unsupported_reason(sets, set(self._parameter_index))
        self._sample_flops: dict[tuple[int, ...], float] = {}

    def sets(self) -> list[nn.Module]:
        """The parameter sets, theta0, theta1 and on."""
        return [self.get_submodule(f"theta{k}") for k in range(self.num_sets)]

    def parameters_at(self, s: Tensor) -> list[dict[str, Tensor]]:
        """theta(s) for each of the scalars s, (G,), keyed by the network's parameter names."""
        weights = self.interpolation(s)
        sets = [dict(theta.named_parameters()) for theta in self.sets()]
        values = [lerp(weights, *(theta[name] for theta in sets)) for name in self.doubled]
        return [
            {name: theta[i] for name, i in self._parameter_index.items()}
            for theta in zip(*values, strict=True)
        ]

    def forward(self, x: Tensor, s: Tensor | float, *args: Any, **kwargs: Any) -> Any:
        """Run the network on x, conditioned on s.

        Args:
            x: input of the network, shape (B, ...).
            s: one scalar for the batch, shape (), or one per sample, (B,): integer steps in
                [0, S-1] or floats in [0, 1]. On the CPU, s needs no GPU synchronization.
            args, kwargs: further arguments of the network. Tensors with B rows are split by
                sample like x; everything else is passed unchanged.

        Returns:
            The output of the network. Each sample's is what it would be in a batch of one.

        Raises:
            ValueError: s is out of range, or its shape is neither () nor (B,).
        """
        s = torch.as_tensor(s)
        args = (x, *args)
        if s.numel() == 1:
            (theta,) = self.parameters_at(s.reshape(1))
            return functional_call(self.theta0, theta, args, kwargs, tie_weights=False)
        if s.shape != x.shape[:1]:
            raise ValueError(
                f"s must be one scalar or one for each of the {len(x)} samples, "
                f"got shape {tuple(s.shape)}"
            )
        order = s.argsort(stable=True)
        scalars, counts = s[order].unique_consecutive(return_counts=True)
        if self._use_factored(len(scalars), args, kwargs):
            weights = self.interpolation(s).to(x.device)
            try:
                return run_factored(self.theta0, self.theta1, weights, args, kwargs)
            except FactorizationError as reason:
                self._unsupported = str(reason)
                self._fall_back()
        # Gradients need every theta(s) at once; without them each is freed after its pass.
        chunks = [scalars] if torch.is_grad_enabled() else scalars.split(1)
        thetas = (theta for chunk in chunks for theta in self.parameters_at(chunk))
        return run_grouped(self.theta0, thetas, counts.tolist(), order, args, kwargs)

    def _use_factored(self, num_scalars: int, args: tuple, kwargs: dict) -> bool:
        compiled = self.theta0._compiled_call_impl is not None
        if num_scalars == 1 or self.mode == "grouped" or compiled:
            return False
        if self._unsupported:
            if self.mode == "factored":
                self._fall_back()
            return False
        if self.mode == "factored":
            return True
        shape = args[0].shape[1:]
        if shape not in self._sample_flops:
            self._sample_flops[shape] = flops_per_sample(self.theta0, args, kwargs)
        network = len(args[0]) * self._sample_flops[shape]
        doubled = sum(parameter.numel() for parameter in self.theta1.parameters())
        return num_scalars * doubled * FLOPS_PER_PARAMETER > network

    def _fall_back(self) -> None:
        self.mode = "grouped"
        warnings.warn(f"running grouped instead of factored: {self._unsupported}", stacklevel=4)

    @torch.no_grad()
    def at(self, s: Tensor | float) -> nn.Module:
        """The plain network for one scalar: a copy of f with the parameters theta(s).

        It has no trace of interpolation and can be exported, compiled or shared like any f.

        Args:
            s: one scalar, an integer step in [0, S-1] or a float in [0, 1].

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
        """Precompute theta(s) for the scalars of a sampler, at the memory of one network each.

        Args:
            scalars: integer steps in [0, S-1] or floats in [0, 1].

        Raises:
            ValueError: a scalar is out of range.
        """
        return Baked(self.at, [torch.as_tensor(s) for s in scalars], self.interpolation.num_scalars)

    def extra_repr(self) -> str:
        total = sum(parameter.numel() for parameter in self.theta0.parameters())
        doubled = sum(parameter.numel() for parameter in self.theta1.parameters())
        shared = [name for name, _ in self.theta0.named_parameters() if name not in self.doubled]
        more = f"; shared: {', '.join(shared)}" if shared else ""
        return (
            f"{self.num_sets} sets of {doubled:,} of {total:,} parameters, mode={self.mode}{more}"
        )


def parameter_index(net: nn.Module) -> dict[str, int]:
    """Map every parameter name to the parameter's index in `list(net.parameters())`.

    A tied parameter has several names and one index. A layer that occurs twice is listed under
    its first name only: functional_call would swap its parameters twice and restore the wrong
    ones.
    """
    indices = {id(parameter): i for i, parameter in enumerate(net.parameters())}
    return {
        f"{prefix}.{name}" if prefix else name: indices[id(parameter)]
        for prefix, module in net.named_modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    }
