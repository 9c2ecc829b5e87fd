"""From a network to two parameter sets and lambda, and to what an optimizer wants of them."""

import copy
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from dpi.interpolation.function import InterpolationFunction
from dpi.interpolation.network import Interpolated, Mode, slots


def interpolate(
    net: nn.Module,
    num_scalars: int = 1000,
    schedule: Literal["learnable", "linear"] = "learnable",
    endpoints: Literal["paper", "exact"] = "paper",
    between: Literal["linear", "nearest"] = "linear",
    init: Literal["copy", "independent"] = "copy",
    num_sets: int = 2,
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
    mode: Mode = "auto",
) -> Interpolated:
    """Turn a network f(x) into g(x, s), told the scalar s through its parameters.

        net = interpolate(MyNetwork())
        y = net(x, 250)                              # all of x at step 250
        y = net(x, torch.rand(len(x)))               # every sample its own s in [0, 1]
        optimizer = torch.optim.AdamW(parameter_groups(net, lr=1e-4, lr_lambda=1e-3))

    Args:
        net: any module that maps a batch to a batch; it becomes theta0 (not copied).
        num_scalars: S, the number of steps that lambda is given at.
        schedule, endpoints, between: see `InterpolationFunction`.
        init: theta1 starts as a "copy" of theta0, so that at first the network is deaf to s and
            equals net; or "independent", drawn anew by each layer's `reset_parameters`, save
            for tensors that are constant in theta0 (zeroed output layers, norms), which stay.
        num_sets: K parameter sets, which lambda runs through in K - 1 equal segments.
        include, exclude: patterns of parameter names, as of files ("encoder.*", "*.bias"): what
            is doubled is included and not excluded; all else is shared by the sets.
        mode: how a batch of different scalars is run. "grouped": one pass for each scalar, over
            the samples that share it; any network. "factored": one pass with twice the
            multiplications (see `dpi.interpolation.factored`), if every doubled parameter is of
            a convolution, a linear layer or a norm, and samples lie along the first dimension
            throughout; else grouped, and a warning. "auto": factored where it takes less.

            Batch norms are the one place where the two differ, in training: grouped, each group
            is normalised by its own statistics, and the running ones are updated once a group;
            factored, the batch is one.

    Raises:
        ValueError: an unknown word; a pattern that matches nothing; nothing to double; fewer
            than two sets; or, with init="independent", a layer with parameters that cannot draw
            them anew.
    """
    if init not in ("copy", "independent"):
        raise ValueError(f"init must be 'copy' or 'independent', got {init!r}")
    if mode not in ("auto", "grouped", "factored"):
        raise ValueError(f"mode must be 'auto', 'grouped' or 'factored', got {mode!r}")
    if num_sets < 2:
        raise ValueError(f"num_sets must be at least 2, got {num_sets}")
    shared = _shared(net, _listed(include), _listed(exclude))
    sets = [net]
    for _ in range(num_sets - 1):
        theta = copy.deepcopy(net)
        if init == "independent":
            _draw_anew(theta)
        _strip(theta, shared)
        sets.append(theta)
    interpolation = InterpolationFunction(num_scalars, schedule, endpoints, between)
    return Interpolated(sets, interpolation, mode)


def _listed(patterns: Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _shared(net: nn.Module, include: list[str], exclude: list[str]) -> set[str]:
    """Names of the parameters that are not doubled; a tied one is doubled if any name of it is."""
    names = slots(net)
    for pattern in [*include, *exclude]:
        if names and not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"the pattern {pattern!r} matches none of the parameters "
                f"({', '.join(list(names)[:3])}, ...)"
            )
    doubled = {
        place
        for name, place in names.items()
        if any(fnmatchcase(name, pattern) for pattern in include)
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }
    if not doubled:
        raise ValueError(f"{type(net).__name__} has no parameters to interpolate")
    return {name for name, place in names.items() if place not in doubled}


def _strip(theta: nn.Module, shared: set[str]) -> None:
    """Take away what a further set does not have of its own: buffers and shared parameters."""
    for prefix, module in theta.named_modules():
        for name in list(module._buffers):
            module._buffers[name] = None
        if hasattr(module, "track_running_stats"):
            module.track_running_stats = False  # else a batch norm looks for them when loaded
        for name in module._parameters:
            if (f"{prefix}.{name}" if prefix else name) in shared:
                module._parameters[name] = None


@torch.no_grad()
def _draw_anew(theta: nn.Module) -> None:
    before = [parameter.clone() for parameter in theta.parameters()]
    for name, module in theta.named_modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"init='independent' needs reset_parameters() on every layer with parameters; "
                f"{name or 'the network'} ({type(module).__name__}) has none; use init='copy'"
            )
    for parameter, old in zip(theta.parameters(), before, strict=True):
        constant = (old == old.flatten()[0]).all()
        parameter.copy_(torch.where(constant, old, parameter))


def parameter_groups(
    net: nn.Module, lr: float, lr_lambda: float, weight_decay_lambda: float | None = None
) -> list[dict[str, Any]]:
    """Two parameter groups for an optimizer: phi learns at lr_lambda, all else at lr.

    Works on any module, also one that holds interpolated networks or none.

    Args:
        lr, lr_lambda: learning rates.
        weight_decay_lambda: phi's, which pulls lambda towards a straight line; None for the
            optimizer's own.
    """
    phis = [m.phi for m in net.modules() if isinstance(m, InterpolationFunction)]
    phis = [phi for phi in phis if phi is not None]
    ids = {id(phi) for phi in phis}
    groups = [{"params": [p for p in net.parameters() if id(p) not in ids], "lr": lr}]
    if phis:
        decay = {} if weight_decay_lambda is None else {"weight_decay": weight_decay_lambda}
        groups.append({"params": phis, "lr": lr_lambda, **decay})
    return groups
