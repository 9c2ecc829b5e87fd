"""g(x, s) = f(theta(s), x): a network conditioned on s through its parameters (Section 3.1)."""

import copy
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from dpi.interpolation.affine import Affine
from dpi.interpolation.batch import Arguments, Output, distinguishable, groups, join
from dpi.interpolation.one_pass import Sets, combine, one_pass
from dpi.interpolation.scalar import as_scalars, position
from dpi.interpolation.schedule import InterpolationFunction, Mixture
from dpi.interpolation.state import (
    Originals,
    one_at_a_time,
    put_back,
    refuse_cached_parametrizations,
    refuse_recomputation,
    undone_on_error,
)

Mode = Literal["auto", "grouped"]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Interpolated(nn.Module):
    """A network f with K parameter sets, run with the parameters

        theta(s) = (1 - lambda(s)) theta0 + lambda(s) theta1,                      (2)

    or, for K sets, theta(s) = sum_k w_k(s) theta_k. `theta0` is the given network, and it is what
    runs: hooks, options and modes are its own. `theta1` and on only hold parameters. Each uses the
    network's own parameter names, so that either half of the state dict can be loaded into the
    plain network. Buffers (running statistics, for example) and parameters that are not doubled
    belong to theta0 alone.

    One scalar is a call of f with theta(s). Many scalars are one pass over groups of samples that
    share a scalar, by `torch.vmap`, or, where PyTorch cannot do that, a call of f for each group.

    Use `interpolate` to create one. Attributes of f that are plain values, such as the `config` of
    a diffusers model, are also those of g.

    Args:
        sets: theta0, theta1 and on; the first holds what the others share.
        interpolation: the weights of the sets.
        mode, shared, checkpointing: see `interpolate`.
    """

    theta0: nn.Module

    samples_per_scalar: int | None = None
    """How many consecutive samples share a scalar, for torch.compile, where scalars cannot be
    looked at. If that is not so, the output is NaN."""

    def __init__(
        self,
        sets: Sequence[nn.Module],
        interpolation: InterpolationFunction | Mixture,
        mode: Mode = "auto",
        shared: Sequence[str] = (),
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        for k, theta in enumerate(sets):
            self.add_module(f"theta{k}", theta)
        self.interpolation = interpolation
        self.mode = mode
        self.shared = list(shared)
        self.checkpointing = checkpointing
        self.doubled = [name for name, _ in sets[1].named_parameters()]
        """Names of the interpolated parameters; a tied one is listed under its first name."""
        self._shared = [n for n, _ in sets[0].named_parameters() if n not in set(self.doubled)]
        self._refused: dict[Any, str] = {}

    def forward(self, x: Any = None, s: Any = None, /, *args: Any, **kwargs: Any) -> Any:
        """Run the network on x, conditioned on s.

        Args:
            x: first argument of the network, shape (B, ...). May also be given by the name that
                it has there.
            s: one scalar for the batch, shape (), or one per sample, (B,); see `interpolate`. May
                also be given as s=. On the CPU, s needs no GPU synchronization.
            args, kwargs: further arguments of the network.

        Returns:
            The output of the network, the batch first. Each sample's is what the samples of its
            scalar would get alone.

        Raises:
            ValueError: s is out of range or has another shape; it is not clear whether an argument
                is to be split by sample; an output has no sample dimension.
            RuntimeError: the network was changed, or cannot be interpolated, as the message says.
            TypeError: s is missing, or no number.
        """
        s = as_scalars(kwargs.pop("s", None) if s is None else s)
        args = args if x is None and not args else (x, *args)
        known = distinguishable(s)
        s = s.cpu() if known else s
        where = position(s, self.interpolation.num_scalars, self.interpolation.scalar)
        sets = self._sets()
        if s.numel() != 1:
            arguments = Arguments(self.theta0, args, kwargs, len(s), self.shared)
            if not known:
                return self._unseen(sets, s, self.interpolation.weights(where), arguments)
            found = groups(s)
            if len(found) > 1:
                return self._seen(sets, found, self.interpolation.weights(where), arguments)
            where = where[:1] if found else where.new_zeros(1)  # of no samples: any do
        w = self.interpolation.weights(where.reshape(()))
        return self._call(sets, w, args, kwargs)

    def _call(self, sets: Sets, w: Tensor, args: tuple, kwargs: dict[str, Any]) -> Any:
        """f with theta = sum_k w_k theta_k, for w of shape (K,)."""
        theta = {name: combine(w, [values[name] for values in sets]) for name in self.doubled}
        with self._guarded(sets):
            if self.checkpointing and not torch.compiler.is_compiling():
                return self._copy(sets, theta)(*args, **kwargs)
            return functional_call(self.theta0, theta, args, kwargs)

    def _seen(self, sets: Sets, found: list[list[int]], w: Tensor, arguments: Arguments) -> Any:
        """Groups of samples that share a scalar, all that are equally large at once."""
        of_size: dict[int, list[list[int]]] = {}
        for group in found:
            of_size.setdefault(len(group), []).append(group)
        outputs = [
            output
            for several in of_size.values()
            for output in self._groups(sets, torch.tensor(several), w, arguments)
        ]
        return join(outputs, [i for several in of_size.values() for group in several for i in group])

    def _unseen(self, sets: Sets, s: Tensor, w: Tensor, arguments: Arguments) -> Any:
        """Samples whose scalars cannot be looked at, or differ in their derivatives."""
        n = self.samples_per_scalar or 1
        for name, module in self.theta0.named_modules():
            uses_batch = isinstance(module, BATCH_NORMS) and n == 1
            if uses_batch and (module.training or module.running_mean is None):
                raise RuntimeError(
                    f"{name} ({type(module).__name__}) mixes samples of equal scalars, which here "
                    "cannot be looked at: set net.samples_per_scalar, or do not compile"
                )
        if n > 1:
            same = (s.reshape(-1, n) == s[::n, None]).all()
            w = torch.where(same.to(w.device), w, torch.nan)
        if torch.compiler.is_compiling():
            return join([self._pass(sets, w[:, ::n], arguments, None, n)], None)
        index = torch.arange(len(s)).reshape(-1, n)
        return join(self._groups(sets, index, w, arguments), None)

    def _groups(
        self, sets: Sets, index: Tensor, w: Tensor, arguments: Arguments
    ) -> list[Output]:
        """G groups of n samples, index (G, n), in one pass; of each group where that is refused."""
        w = w.index_select(1, index[:, 0].to(w.device, non_blocking=True))
        n = index.shape[1]
        use, reason = None, None
        if len(index) > 1 and self.mode == "auto" and not self.checkpointing:
            use = _modes(self.theta0), torch.is_grad_enabled(), arguments.kind()
            if use not in self._refused:
                flat = index.flatten()
                is_all = torch.equal(flat, torch.arange(arguments.size))
                try:
                    with undone_on_error(self.theta0, w.device):
                        return [self._pass(sets, w, arguments, None if is_all else flat, n)]
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # vmap's refusals have no class of their own
                    reason = _explain(error, self.theta0)
        outputs = []
        for of_group, w_of_group in zip(index, w.unbind(1), strict=True):
            args, kwargs = arguments.of(of_group)
            output = self._call(sets, w_of_group, args, kwargs)
            outputs.append(Output(output, n))
        if reason is not None:  # and it was not an error of the network's own
            if reason not in self._refused.values():
                warnings.warn(
                    f"{reason}; a batch of several scalars takes one call of the network for each",
                    stacklevel=2,
                )
            self._refused[use] = reason
        return outputs

    def _pass(
        self, sets: Sets, w: Tensor, arguments: Arguments, index: Tensor | None, n: int
    ) -> Output:
        layers = [module for module in own_modules(self.theta0) if isinstance(module, Affine)]
        guard = self._guarded(sets)
        return one_pass(self.theta0, layers, sets, w, arguments, index, n, guard)

    @contextmanager
    def _guarded(self, sets: Sets) -> Iterator[None]:
        """Around a call of theta0 with other parameters."""
        if torch.compiler.is_compiling():
            yield
            return
        originals = {id(p): f"theta0.{name}" for name, p in sets[0].items()}
        with one_at_a_time(), put_back(self.theta0), Originals(originals):
            refuse_cached_parametrizations(self.theta0)
            yield

    def _sets(self) -> Sets:
        """The interpolated parameters in theta0, theta1 and on, by the names of `doubled`."""
        sets = []
        for k in range(self.num_sets):
            theta = dict(self.get_submodule(f"theta{k}").named_parameters())
            expected = self.doubled if k else [*self.doubled, *self._shared]
            if theta.keys() != set(expected):
                different = sorted(theta.keys() ^ set(expected))[:3]
                raise RuntimeError(
                    f"the parameters of theta{k} changed since `interpolate` "
                    f"({', '.join(different)}); change the network first, then call interpolate"
                )
            sets.append({name: theta[name] for name in self.doubled})
        for name, parameter in sets[0].items():
            if is_traceable_wrapper_subclass(parameter):
                raise RuntimeError(
                    f"theta0.{name} is a {type(parameter).__name__} while it is interpolated; "
                    "shard the interpolated network as one, fully_shard(net), without its parts; "
                    "quantize net.at(s)"
                )
        return sets

    @property
    def num_sets(self) -> int:
        """K."""
        return self.interpolation.num_sets

    def _copy(self, sets: Sets, theta: dict[str, Tensor]) -> nn.Module:
        """theta0 with other parameters, as a network of its own; the rest of its tensors is shared."""
        kept = {id(t): t for t in (*self.theta0.parameters(), *self.theta0.buffers())}
        kept |= {id(p): theta[name] for name, p in sets[0].items()}
        return copy.deepcopy(self.theta0, kept)

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
        s = as_scalars(s)
        if s.numel() != 1:
            raise ValueError(f"at takes one scalar, got shape {tuple(s.shape)}")
        where = position(s.reshape(()), self.interpolation.num_scalars, self.interpolation.scalar)
        w, sets = self.interpolation.weights(where), self._sets()
        theta = {
            name: nn.Parameter(combine(w, [values[name] for values in sets]), p.requires_grad)
            for name, p in sets[0].items()
        }
        net = copy.deepcopy(self.theta0, {id(p): theta[name] for name, p in sets[0].items()})
        for module in own_modules(net):
            if isinstance(module, Affine):
                module.__class__ = module.plain
            for key, hook in list(module._forward_pre_hooks.items()):
                if hook is refuse_recomputation:
                    del module._forward_pre_hooks[key]
        return net

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if not self._passes_on(name):
                raise
            return getattr(self.theta0, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__ and not hasattr(type(self), name) and self._passes_on(name):
            setattr(self.theta0, name, value)
        else:
            super().__setattr__(name, value)

    def _passes_on(self, name: str) -> bool:
        """Whether f has a plain value of that name. Methods, modules and tensors would be those
        of theta0 alone."""
        theta0 = self.__dict__.get("_modules", {}).get("theta0")
        value = getattr(theta0, name, None)
        return value is not None and not callable(value) and not isinstance(value, Tensor)

    def extra_repr(self) -> str:
        parameters = dict(self.theta0.named_parameters())
        total = sum(parameter.numel() for parameter in parameters.values())
        doubled = sum(parameters[name].numel() for name in self.doubled if name in parameters)
        shared = f"; shared: {', '.join(self._shared)}" if self._shared else ""
        refused = f"; not in one pass: {self._refused[next(iter(self._refused))]}" if self._refused else ""
        return f"{self.num_sets} sets of {doubled:,} of {total:,} parameters{shared}{refused}"


def own_modules(net: nn.Module) -> Iterator[nn.Module]:
    """The modules of a network, without those of interpolated networks in it."""
    if not isinstance(net, Interpolated):
        yield net
        for child in net.children():
            yield from own_modules(child)


def _modes(net: nn.Module) -> tuple[bool, ...]:
    return tuple(module.training for module in net.modules())


def _explain(error: Exception, net: nn.Module) -> str:
    """The layer in which an error was raised, and its first line."""
    names = {id(module): name for name, module in net.named_modules()}
    where = type(net).__name__
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if names.get(id(module)):
            where = f"{names[id(module)]} ({type(module).__name__})"
    line = str(error).strip().splitlines() or [type(error).__name__]
    return f"{where}: {line[0]}"
