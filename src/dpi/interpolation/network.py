"""g(x, s) = f(theta(s), x): a network conditioned on s through its parameters (Section 3.1)."""

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from dpi.interpolation.arguments import Dims
from dpi.interpolation.baked import Baked
from dpi.interpolation.batching import (
    nested_weights,
    per_sample_weights,
    run_grouped,
    why_not_one_pass,
)
from dpi.interpolation.coefficients import Coefficients
from dpi.interpolation.lerp import lerp
from dpi.interpolation.low_rank import LowRank
from dpi.interpolation.per_sample import PerSampleWeight, UnsupportedOperation
from dpi.interpolation.plan import Plan, make_plan
from dpi.interpolation.replica import Replica, check_compiler, check_references
from dpi.interpolation.schedule import InterpolationFunction
from dpi.precision import autocast_off

Mode = Literal["auto", "one_pass", "grouped"]
MODES = ("auto", "one_pass", "grouped")


class Interpolated(nn.Module):
    """A network f with several parameter sets, run with the parameters

        theta(s) = (1 - lambda(s)) theta0 + lambda(s) theta1.                      (2)

    `theta0` is the given network and `theta1` has the same structure. Both use the network's own
    parameter names, so that either half of the state dict can be loaded into the plain network.
    Buffers (running statistics, for example) and parameters that are not doubled belong to theta0
    alone. More generally, theta(s) = theta_0 + sum_k c_k(s) (theta_k - theta_{k-1}), where the c_k
    follow from lambda or are learned themselves, and where the differences may have low rank.

    Use `interpolate` to create one. Attributes of f that are plain values, such as the `config` of
    a diffusers model, are also those of g.

    Args:
        sets: theta0, theta1 and on; the first holds what the others share.
        interpolation: lambda, or the coefficients c.
        low_rank: the differences between the sets, in place of further sets.
        mode, in_dims, out_dims: see `interpolate`.
    """

    theta0: nn.Module

    def __init__(
        self,
        sets: Sequence[nn.Module],
        interpolation: InterpolationFunction | Coefficients,
        low_rank: LowRank | None = None,
        mode: Mode = "auto",
        in_dims: Mapping[str, Dims] | None = None,
        out_dims: Dims = None,
    ) -> None:
        super().__init__()
        for k, theta in enumerate(sets):
            self.add_module(f"theta{k}", theta)
        self.interpolation = interpolation
        self.low_rank = low_rank
        self.num_sets = len(sets) if low_rank is None else 1 + low_rank.bases
        self.mode = mode
        self.in_dims = dict(in_dims or {})
        self.out_dims = out_dims
        self.doubled = (
            [name for name, _ in sets[1].named_parameters()] if low_rank is None else low_rank.names
        )
        """Names of the interpolated parameters; a tied one is listed under its first name."""
        self.last_run: str | None = None
        """How the last batch was run and, if it was grouped, why."""
        self._shared = [n for n, _ in sets[0].named_parameters() if n not in set(self.doubled)]
        self._arguments = _positional(sets[0])
        self._verified: dict[tuple, str | None] = {}
        self._harmless: dict[int, Any] = {}

    def forward(
        self, x: Any = None, s: Tensor | float | Plan | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Run the network on x, conditioned on s.

        Args:
            x: first argument of the network, shape (B, ...). May also be given by the name that
                it has there.
            s: one scalar for the batch, shape (), or one per sample, (B,); see `interpolate`. On
                the CPU, s needs no GPU synchronization.
            args, kwargs: further arguments of the network.

        Returns:
            The output of the network. Each sample's is what it would be in a batch of one.

        Raises:
            ValueError: s is out of range or has another shape; it is not clear whether an argument
                is to be split by sample.
            RuntimeError: the structure of a set was changed, or mode="one_pass" is impossible.
        """
        if s is None:
            raise TypeError("s, the scalar, is missing: net(x, s)")
        if isinstance(s, torch.fx.Proxy):
            raise TypeError("torch.fx cannot trace this; trace net.at(s), or use torch.export")
        args = args if x is None and not args else (x, *args)
        plan = s if isinstance(s, Plan) else self.plan(s)
        theta0, *_ = sets = self._parameters_of_sets()
        if theta0[0].is_meta and not all(leaf.is_meta for leaf in _tensors(args, kwargs)[:1]):
            raise RuntimeError(f"theta0.{self.doubled[0]} is on the meta device, x is not")
        c = self.interpolation.coefficients(plan.where).to(theta0[0].device, non_blocking=True)

        def f(theta: Iterable[Any]) -> Replica:
            return Replica(self.theta0, dict(zip(theta0, theta, strict=True)))

        if any(isinstance(parameter, PerSampleWeight) for parameter in theta0):
            return f(nested_weights(c, self._complete(sets)))(*args, **kwargs)
        if plan.where.dim() == 0:
            self._note("one scalar")
            return f(self._theta(c, sets))(*args, **kwargs)
        if self._takes_one_pass(plan, args, kwargs):
            try:
                weights = per_sample_weights(c, sets, plan, self.low_rank)
                return f(weights)(*args, **kwargs)
            except UnsupportedOperation as error:
                self._fall_back(error)
        distinct = c if plan.sizes is None else c[:, plan.first(c.device)]
        networks = (f(self._theta(c_of_one, sets)) for c_of_one in distinct.unbind(1))
        names = self._arguments
        return run_grouped(networks, plan, args, kwargs, names, self.in_dims, self.out_dims)

    def plan(self, s: Tensor | float) -> Plan:
        """Check scalars and find which are equal. A plan can be used in place of s.

        For a compiled network: net(x, net.plan(s)) runs equal scalars together, while net(x, s)
        has to treat all as distinct.

        Raises:
            ValueError: s is out of range or has another shape.
        """
        return make_plan(
            torch.as_tensor(s), self.interpolation.num_scalars, self.interpolation.scalar
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._compiled_call_impl is not None and not torch.compiler.is_compiling():
            # Compiled in place: plan outside, where the scalars can be compared. Groups of
            # different sizes would be compiled anew for every combination.
            if len(args) > 1 and not isinstance(args[1], Plan):
                args = (args[0], self.plan(args[1]).with_equal_sizes(), *args[2:])
            elif "s" in kwargs and not isinstance(kwargs["s"], Plan):
                kwargs = {**kwargs, "s": self.plan(kwargs["s"]).with_equal_sizes()}
        return super().__call__(*args, **kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the network in place, see `torch.nn.Module.compile`.

        Raises:
            RuntimeError: this version of PyTorch cannot.
        """
        check_compiler()
        super().compile(*args, **kwargs)

    def _takes_one_pass(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> bool:
        size = len(plan.where)
        x = args[0] if args and not self.in_dims.keys() & {*self._arguments[:1]} else None
        if isinstance(x, Tensor) and x.shape[:1] != (size,):
            raise ValueError(
                f"s must be one scalar or one for each of the {len(x)} samples, got shape ({size},)"
            )
        if self.mode == "grouped":
            self._note(f"{plan}: grouped, as mode says")
            return False
        leaves = tree_leaves((args, kwargs))
        if torch.compiler.is_compiling():
            reason = self._verify_while_compiling(
                plan.where, tuple(kwargs), *args, *kwargs.values()
            )
        else:
            key = (self.theta0.training, tuple(kwargs), *(_kind(leaf, size) for leaf in leaves))
            if key not in self._verified:
                self._verified[key] = self._verify(size, args, kwargs)
            reason = self._verified[key]
        if reason is not None and self.mode == "one_pass":
            raise RuntimeError(f"mode='one_pass' is impossible: {reason}; use mode='auto'")
        self._note(f"{plan}: {'one pass' if reason is None else 'grouped, since ' + reason}")
        return reason is None

    def _fall_back(self, error: UnsupportedOperation) -> None:
        # An operation that was not reached when the shape was verified.
        if self.theta0.training:
            raise RuntimeError(
                f"{error}; it was not reached by the first batch, and to repeat this one could "
                "update statistics twice: use mode='grouped'"
            ) from error
        self._note(f"grouped, since {error}")

    def _verify(self, size: int, args: tuple, kwargs: dict[str, Any]) -> str | None:
        sets = self._complete(self._parameters_of_sets())
        names = self._arguments
        return why_not_one_pass(self.theta0, sets, size, args, kwargs, names, self.in_dims)

    def _verify_while_compiling(
        self, where: Tensor, names: tuple[str, ...], *values: Any
    ) -> str | None:
        # Not the size: under dynamic shapes it is symbolic, while tensors are passed as they are.
        positional = len(values) - len(names)
        kwargs = dict(zip(names, values[positional:], strict=True))
        return self._verify(len(where), values[:positional], kwargs)

    # Run once, when the network is compiled. This is torch.compiler.assume_constant_result, which
    # would import the compiler.
    vars(_verify_while_compiling)["_dynamo_marked_constant"] = True

    def _check_references(self) -> None:
        check_references(self.theta0, self._harmless)

    vars(_check_references)["_dynamo_marked_constant"] = True

    def _parameters_of_sets(self) -> list[list[Tensor]]:
        """The interpolated parameters of the modules in `sets`, each in the order of `doubled`."""
        sets: list[list[Tensor]] = []
        for k, theta in enumerate(self.sets()):
            found = dict(theta.named_parameters())
            expected = self.doubled if k > 0 else [*self.doubled, *self._shared]
            if len(found) != len(expected) or any(name not in found for name in expected):
                different = sorted(found.keys() ^ set(expected))[:3]
                raise RuntimeError(
                    f"the parameters of theta{k} changed since `interpolate` "
                    f"({', '.join(different)}); change the network first, then call interpolate"
                )
            sets.append([found[name] for name in self.doubled])
        for name, parameter in zip(self.doubled, sets[0], strict=True):
            if isinstance(parameter, Tensor) and is_traceable_wrapper_subclass(parameter):
                raise RuntimeError(
                    f"theta0.{name} is a {type(parameter).__name__} while it is interpolated; "
                    "shard the interpolated network as one, fully_shard(net), without its parts; "
                    "quantize net.at(s)"
                )
        self._check_references()
        return sets

    def _complete(self, sets: list[list[Tensor]]) -> list[list[Tensor]]:
        """The parameters in theta0, theta1 and on."""
        return sets if self.low_rank is None else self.low_rank(sets[0])

    def _theta(self, c: Tensor, sets: list[list[Tensor]]) -> list[Tensor]:
        """theta(s) for one scalar."""
        with autocast_off(c.device):
            return lerp(c, sets) if self.low_rank is None else self.low_rank.theta(c, sets[0])

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_harmless": {}}

    def sets(self) -> list[nn.Module]:
        """The parameter sets, theta0, theta1 and on; theta0 alone if they differ at low rank."""
        count = self.num_sets if self.low_rank is None else 1
        return [self.get_submodule(f"theta{k}") for k in range(count)]

    def _note(self, how: str) -> None:
        if not torch.compiler.is_compiling():
            self.last_run = how

    @property
    def mode(self) -> Mode:
        """How a batch with several distinct scalars is run, see `interpolate`."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self._mode = mode

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            theta0 = self.__dict__.get("_modules", {}).get("theta0")
            # Methods and modules would run with theta0 alone.
            if not hasattr(theta0, name) or callable(value := getattr(theta0, name)):
                raise
            if isinstance(value, Tensor):
                raise
            return value

    @torch.no_grad()
    def at(self, s: Tensor | float) -> nn.Module:
        """The plain network for one scalar: a copy of f with the parameters theta(s).

        It has no trace of interpolation and can be exported, compiled or shared like any f. Of two
        scalars, `net.at(r)` is conditioned on the other, and `net.at(r).at(t)` is plain.

        Args:
            s: one scalar.

        Raises:
            ValueError: s is out of range or not one scalar.
        """
        plan = self.plan(s)
        if plan.where.dim() > 0:
            raise ValueError(f"at takes one scalar, got shape {tuple(plan.where.shape)}")
        theta0, *_ = sets = self._parameters_of_sets()
        theta = self._theta(self.interpolation.coefficients(plan.where).to(theta0[0].device), sets)
        net = copy.deepcopy(self.theta0)
        parameters = dict(net.named_parameters())
        for name, value in zip(self.doubled, theta, strict=True):
            parameters[name].copy_(value)
        return net

    def bake(self, scalars: Iterable[Tensor | float]) -> Baked:
        """Precompute theta(s) for the scalars of a sampler, at the memory of one network each.

        Args:
            scalars: scalars, see `interpolate`.

        Raises:
            ValueError: a scalar is out of range.
        """
        tensors = [torch.as_tensor(s) for s in scalars]
        return Baked(self.at, tensors, self.interpolation.num_scalars, self.interpolation.scalar)

    def load_plain(self, state_dict: Mapping[str, Any]) -> None:
        """Load the state dict of a plain network f into every set, as the start of a fine-tuning.

        Args:
            state_dict: parameters and buffers by f's own names.

        Raises:
            RuntimeError: keys are missing or unexpected, or shapes differ.
        """
        if self.low_rank is not None:
            self.low_rank.reset_parameters()
        for theta in self.sets():
            if isinstance(theta, Interpolated):
                theta.load_plain(state_dict)
                continue
            own = theta.state_dict()
            first = theta is self.theta0
            theta.load_state_dict(
                {name: v for name, v in state_dict.items() if first or name in own}
            )

    def extra_repr(self) -> str:
        parameters = dict(self.theta0.named_parameters())
        total = sum(parameter.numel() for parameter in parameters.values())
        doubled = sum(parameters[name].numel() for name in self.doubled if name in parameters)
        shared = f"; shared: {', '.join(self._shared)}" if self._shared else ""
        rank = "" if self.low_rank is None else f" that differ at rank {self.low_rank.rank}"
        last = f"; last batch: {self.last_run}" if self.last_run else ""
        return (
            f"{self.num_sets} sets of {doubled:,} of {total:,} parameters{rank}, mode={self.mode}"
            f"{shared}{last}"
        )


def _positional(net: nn.Module) -> list[str]:
    """Names of the arguments that a network takes by position."""
    parameters = inspect.signature(net.forward).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _tensors(args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    return [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _kind(leaf: Any, size: int) -> Any:
    """What distinguishes one use of a network from another, apart from the batch size."""
    if isinstance(leaf, Tensor):
        rows = leaf.shape[:1] == (size,)
        return tuple(leaf.shape[1:] if rows else leaf.shape), rows, leaf.dtype
    return leaf if isinstance(leaf, bool | int | str | None) else type(leaf)
