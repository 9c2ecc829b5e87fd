"""`interpolate` conditions a network on a scalar; `parameter_groups` sets its learning rates."""

import copy
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from dpi.interpolation.network import Interpolated, Mode, parameter_index
from dpi.interpolation.schedule import InterpolationFunction


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
    """Turn a network f(x) into g(x, s), conditioned on a scalar s through its parameters.

        net = interpolate(MyNetwork())
        y = net(x, 250)                              # the whole batch at step 250
        y = net(x, torch.rand(len(x)))               # one s in [0, 1] per sample
        optimizer = torch.optim.AdamW(parameter_groups(net, lr=1e-4, lr_lambda=1e-3))

    Args:
        net: any module that maps a batch to a batch. It becomes theta0 and is not copied.
        num_scalars: S, the number of steps at which lambda is defined.
        schedule, endpoints, between: see `InterpolationFunction`.
        init: how theta1 is initialized. "copy": equal to theta0, so that the output equals that
            of net and does not depend on s until training starts. "independent": by each layer's
            `reset_parameters`, except for tensors that are constant in theta0 (norms and
            zero-initialized output layers), which keep their values.
        num_sets: K, the number of parameter sets. lambda runs through them in K - 1 segments of
            equal length.
        include, exclude: file-name patterns of parameter names ("encoder.*", "*.bias"). A
            parameter is doubled if it is included and not excluded; the sets share all others.
        mode: how a batch with several distinct scalars is run. "grouped": one pass per scalar,
            over the samples that share it; works for any network. "factored": one pass with twice
            the multiplications (see `dpi.interpolation.batching`). It requires that each doubled
            parameter belongs to a convolution, a linear layer or a norm and that the first
            dimension is the batch throughout; otherwise it warns and falls back to "grouped".
            "auto": "factored" where that is estimated to be faster.

            The two differ for batch norms in training mode. Grouped, each group is normalized by
            its own statistics and updates the running ones; factored, the batch is one group.

    Returns:
        The module g, called as g(x, s).

    Raises:
        ValueError: an unknown option; a pattern that matches no parameter; no parameter to
            interpolate; fewer than two sets; or, with init="independent", a layer with parameters
            but without `reset_parameters`.
    """
    if init not in ("copy", "independent"):
        raise ValueError(f"init must be 'copy' or 'independent', got {init!r}")
    if mode not in ("auto", "grouped", "factored"):
        raise ValueError(f"mode must be 'auto', 'grouped' or 'factored', got {mode!r}")
    if num_sets < 2:
        raise ValueError(f"num_sets must be at least 2, got {num_sets}")
    shared = _shared_names(net, _as_list(include), _as_list(exclude))
    sets = [net]
    for _ in range(num_sets - 1):
        theta = copy.deepcopy(net)
        if init == "independent":
            _reinitialize(theta)
        _remove_shared(theta, shared)
        sets.append(theta)
    interpolation = InterpolationFunction(num_scalars, schedule, endpoints, between)
    return Interpolated(sets, interpolation, mode)


def _as_list(patterns: Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _shared_names(net: nn.Module, include: list[str], exclude: list[str]) -> set[str]:
    """The parameters that the sets share. A tied one is doubled if any of its names is."""
    index = parameter_index(net)
    for pattern in [*include, *exclude]:
        if index and not any(fnmatchcase(name, pattern) for name in index):
            raise ValueError(
                f"the pattern {pattern!r} matches none of the parameters "
                f"({', '.join(list(index)[:3])}, ...)"
            )
    doubled = {
        i
        for name, i in index.items()
        if any(fnmatchcase(name, pattern) for pattern in include)
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }
    if not doubled:
        raise ValueError(f"{type(net).__name__} has no parameters to interpolate")
    return {name for name, i in index.items() if i not in doubled}


def _remove_shared(theta: nn.Module, shared: set[str]) -> None:
    """Remove from a further set what belongs to theta0 alone: buffers and shared parameters."""
    for prefix, module in theta.named_modules():
        for name in list(module._buffers):
            module._buffers[name] = None
        if hasattr(module, "track_running_stats"):
            module.track_running_stats = False  # load_state_dict would require the statistics
        for name in module._parameters:
            if (f"{prefix}.{name}" if prefix else name) in shared:
                module._parameters[name] = None


@torch.no_grad()
def _reinitialize(theta: nn.Module) -> None:
    """Call `reset_parameters` on every layer; tensors that were constant keep their values."""
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
    """Optimizer parameter groups: phi with learning rate lr_lambda, all other parameters with lr.

    Args:
        net: any module. It may contain interpolated networks or none.
        lr, lr_lambda: learning rates.
        weight_decay_lambda: weight decay of phi, which pulls lambda towards a straight line.
            None for the optimizer's default.

    Returns:
        One group for the network, and one for phi if there are any.
    """
    phis = [m.phi for m in net.modules() if isinstance(m, InterpolationFunction)]
    phis = [phi for phi in phis if phi is not None]
    ids = {id(phi) for phi in phis}
    groups = [{"params": [p for p in net.parameters() if id(p) not in ids], "lr": lr}]
    if phis:
        decay = {} if weight_decay_lambda is None else {"weight_decay": weight_decay_lambda}
        groups.append({"params": phis, "lr": lr_lambda, **decay})
    return groups
