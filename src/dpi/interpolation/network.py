"""g(x, s) = f(theta(s), x): a network conditioned on s through its parameters (Section 3.1)."""

import copy
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from dpi.interpolation.affine import Affine, restore
from dpi.interpolation.batch import (
    check_output,
    differentiable,
    dimensions,
    distinguishable,
    groups,
    join,
    select,
)
from dpi.interpolation.one_pass import one_pass
from dpi.interpolation.scalar import as_scalars
from dpi.interpolation.schedule import Weights
from dpi.interpolation.sets import Sets
from dpi.interpolation.state import (
    guarded,
    one_at_a_time,
    refuse_functions,
    refuse_mixing,
    refuse_recomputation,
    undone_on_error,
)

Mode = Literal["auto", "grouped"]
REFUSALS = AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
"""What vmap raises, or a network under it. Not Exception: a checkpoint stops by one of its own."""


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

    Use `interpolate` to create one. Attributes of f are those of `theta0`.

        >>> from dpi.interpolation import interpolate
        >>> interpolate(nn.Linear(2, 3)).at(0.25)  # the plain network for one scalar
        Linear(in_features=2, out_features=3, bias=True)

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
        interpolation: Weights,
        mode: Mode = "auto",
        shared: Sequence[str] = (),
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        for k, theta in enumerate(sets):
            self.add_module(f"theta{k}", theta)
        self.num_sets = len(sets)
        """K."""
        self.interpolation = interpolation
        self.mode = mode
        self.shared = list(shared)
        self.checkpointing = checkpointing
        self.doubled = [name for name, _ in sets[1].named_parameters()]
        """Names of the interpolated parameters; a tied one is listed under its first name."""
        self.common = [n for n, _ in sets[0].named_parameters() if n not in set(self.doubled)]
        """Names of the parameters that the sets share."""
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
        with one_at_a_time():
            return self._run(s, args, kwargs)

    def _run(self, s: Tensor, args: tuple, kwargs: dict[str, Any]) -> Any:
        compiling = torch.compiler.is_compiling()
        if not compiling and not differentiable(s):
            s = s.cpu()  # at most one synchronization
        w = self.interpolation.weights(s)
        sets = Sets(self.thetas(), self.doubled, self.common)
        name, (first, *_) = next(iter(sets.values.items()))
        if first.is_meta and not all(getattr(x, "is_meta", True) for x in args[:1]):
            raise RuntimeError(f"theta0.{name} is on the meta device, x is not")
        w = w.to(first.device, non_blocking=True)
        if s.numel() == 1:
            return self._call(sets, w.flatten(), args, kwargs)
        arguments = args, kwargs
        dims = dimensions(self.theta0, args, kwargs, s.shape[0], self.shared)
        if compiling:
            return self._compiled(sets, s, w, arguments, dims)
        if distinguishable(s):
            found = groups(s)
        else:
            refuse_mixing(self.theta0)
            found = [[i] for i in range(len(s))]
        if len(found) < 2:  # without samples, zeros: any parameters do
            return self._call(sets, w[:, :1].sum(1), args, kwargs)
        outputs = []
        for _, several in groupby(sorted(found, key=len), len):
            index = torch.tensor([*several], device="cpu")
            outputs += self._groups(sets, w, arguments, dims, index)
        return join(outputs)

    def _call(self, sets: Sets, w: Tensor, args: tuple, kwargs: dict[str, Any]) -> Any:
        """f with theta = sum_k w_k theta_k, for w of shape (K,)."""
        theta = sets.theta(w)
        compiling = torch.compiler.is_compiling()
        with self._guarded(sets, batched=False):
            if self.checkpointing and not compiling:
                net = self._copy(sets, theta)
                output = net(*args, **kwargs)
                for module, copied in zip(self.theta0.modules(), net.modules(), strict=True):
                    module._buffers.update(copied._buffers)
                return output
            output = functional_call(self.theta0, theta, args, kwargs, tie_weights=False)
        for name, value in theta.items():
            if not compiling and not value.is_inference() and value._version:
                raise RuntimeError(
                    f"the network writes into {name} in its forward pass, where theta(s) is "
                    "forgotten: run it once before interpolate"
                )
        return output

    def _groups(
        self, sets: Sets, w: Tensor, arguments: Any, dims: Any, index: Tensor
    ) -> list[tuple[Tensor, Any]]:
        """The samples (n,) and the output for them: of all groups, (G, n), in one pass, or of one
        after another where that is refused."""
        modes = tuple(module.training for module in sets.modules)
        use = modes, torch.is_grad_enabled(), str(dims)
        wanted = len(index) > 1 and self.mode == "auto" and not self.checkpointing
        reason = None
        if wanted and use not in self._refused:
            try:
                with undone_on_error(self.theta0, w.device):
                    return [(index.flatten(), self._pass(sets, w, arguments, dims, index))]
            except torch.OutOfMemoryError:
                raise
            except REFUSALS as error:
                reason = _explain(error, self.theta0)
        outputs = []
        for samples in index:
            args, kwargs = select(arguments, dims, samples)
            output = self._call(sets, w[:, int(samples[0])], args, kwargs)
            check_output(output, len(samples))
            outputs.append((samples, output))
        if reason is not None:  # and it was not an error of the network's own
            if reason not in self._refused.values():
                warnings.warn(
                    f"{reason}; a batch of several scalars takes one call of the network for each",
                    stacklevel=2,
                )
            self._refused[use] = reason
        return outputs

    def _compiled(self, sets: Sets, s: Tensor, w: Tensor, arguments: Any, dims: Any) -> Any:
        """All scalars in one graph, in which they cannot be looked at."""
        # Imported by the compiler in any case, and slow to import.
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        n = self.samples_per_scalar or 1
        if n > 1:
            same = (s.reshape(-1, n) == s[::n, None]).all()
            w = torch.where(same.to(w.device), w, torch.nan)
        count = size = s.shape[0] // n
        if statically_known_true(count == 1):
            return self._call(sets, w[:, 0], *arguments)
        refuse_mixing(self.theta0, n)
        # vmap compiles for a known number of groups. If it is unknown, it is the next power of two.
        if not statically_known_true(count < 2**62):
            size = 1
            while size < count:
                size *= 2
        first = torch.arange(size, device="cpu").clamp(max=count - 1) * n
        index = first[:, None] + torch.arange(n, device="cpu")
        output = self._pass(sets, w, arguments, dims, index)
        return tree_map(lambda x: x[: s.shape[0]] if isinstance(x, Tensor) else x, output)

    def _pass(self, sets: Sets, w: Tensor, arguments: Any, dims: Any, index: Tensor) -> Any:
        layers = [module for module in own_modules(self.theta0) if isinstance(module, Affine)]
        w = w.index_select(1, index[:, 0].to(w.device, non_blocking=True))
        guard = self._guarded(sets, batched=True)
        return one_pass(layers, sets, w, arguments, dims, index, guard)

    def _guarded(self, sets: Sets, batched: bool) -> AbstractContextManager[None]:
        return guarded(sets.modules, sets.names, batched, checkpoints=self.checkpointing)

    def thetas(self) -> list[nn.Module]:
        """theta0, theta1 and on."""
        return [self.get_submodule(f"theta{k}") for k in range(self.num_sets)]

    def _copy(self, sets: Sets, theta: dict[str, Tensor]) -> nn.Module:
        """theta0 with other parameters, as a network of its own; other tensors are shared."""
        kept = {id(t): t for t in (*self.theta0.parameters(), *self.theta0.buffers())}
        return copy.deepcopy(self.theta0, kept | {key: theta[n] for key, n in sets.names.items()})

    @torch.no_grad()
    def at(self, s: Tensor | float) -> nn.Module:
        """The plain network for one scalar: a copy of f with the parameters theta(s).

        It has no trace of interpolation and can be exported, compiled or shared like any f. Of two
        scalars, `net.at(r)` is conditioned on the other, and `net.at(r).at(t)` is plain.

        Args:
            s: one scalar.

        Raises:
            ValueError: s is out of range or not one scalar.
            RuntimeError: a function that f holds refers to a part of f.
        """
        refuse_functions(self.theta0)
        s = as_scalars(s)
        if s.numel() != 1:
            raise ValueError(f"at takes one scalar, got shape {tuple(s.shape)}")
        sets = Sets(self.thetas(), self.doubled, self.common)
        w = self.interpolation.weights(s).flatten()
        theta = sets.theta(w.to(next(self.parameters()).device))
        made = {
            key: nn.Parameter(theta[name], sets.values[name][0].requires_grad)
            for key, name in sets.names.items()
        }
        net = copy.deepcopy(self.theta0, made)
        for module in own_modules(net):
            restore(module)
            for key, hook in list(module._forward_pre_hooks.items()):
                if hook is refuse_recomputation:
                    del module._forward_pre_hooks[key]
        return net

    def extra_repr(self) -> str:
        sizes = {name: parameter.numel() for name, parameter in self.theta0.named_parameters()}
        doubled = sum(size for name, size in sizes.items() if name in self.doubled)
        sets = f"{self.num_sets} sets of {doubled:,} of {sum(sizes.values()):,} parameters"
        shared = f"; shared: {', '.join(self.common)}" if self.common else ""
        refused = "".join(f"; {why}" for why in dict.fromkeys(self._refused.values()))
        return f"{self.interpolation.num_scalars} scalars, {sets}{shared}{refused}"


def own_modules(net: nn.Module) -> Iterator[nn.Module]:
    """The modules of a network, without those of interpolated networks in it."""
    if not isinstance(net, Interpolated):
        yield net
        for child in net.children():
            yield from own_modules(child)


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
