"""`interpolate` conditions a network on a scalar; `parameter_groups` sets its learning rates."""

import copy
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from dpi.interpolation.affine import Affine, prepare
from dpi.interpolation.names import as_list, chosen
from dpi.interpolation.network import Interpolated, Mode, own_modules
from dpi.interpolation.scalar import Range
from dpi.interpolation.schedule import InterpolationFunction, Mixture, Weights
from dpi.interpolation.state import COMMON, refuse_recomputation

Schedule = Literal["learnable", "linear", "mixture"]


def interpolate(
    net: nn.Module,
    *,
    num_scalars: int = 1000,
    schedule: Schedule | Weights = "learnable",
    num_sets: int = 2,
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
    scalar: Range | None = None,
    shared: Sequence[str] = (),
    checkpointing: bool = False,
    mode: Mode = "auto",
) -> Interpolated:
    """Turn a network f(x) into g(x, s), conditioned on a scalar s through its parameters.

    All sets are copies of net at first, so that the output is that of net, whatever s, until
    training starts.

        >>> net = interpolate(nn.Linear(2, 3))
        >>> net(torch.randn(8, 2), 250).shape            # the whole batch at step 250
        torch.Size([8, 3])
        >>> net(torch.randn(8, 2), torch.rand(8)).shape  # one s in [0, 1] per sample
        torch.Size([8, 3])

    Args:
        net: any module that maps a batch to a batch. It becomes theta0 and is not copied. Weight
            norm, LoRA and the like come before: its parameters must keep their names afterwards.
        num_scalars: S, the number of steps at which lambda is defined.
        schedule: "learnable" or "linear", a monotone lambda, see `InterpolationFunction`;
            "mixture", softmax weights, see `Mixture`; or one of these two itself, with all of its
            options. num_scalars, num_sets and scalar are then its own.
        num_sets: K, the number of parameter sets. lambda runs through them in K - 1 segments of
            equal length.
        include, exclude: file-name patterns of parameter names ("encoder.*", "*.bias"). A
            parameter is doubled if it is included and not excluded; the sets share all others.
        scalar: what s is: a `Range` such as Range(0.002, 80, log=True). None for integer steps in
            [0, S-1] or floats in [0, 1], distinguished by dtype.
        shared: names of arguments of net that belong to all samples. Not needed for tensors
            without dimensions or with one row, and for numbers and strings.
        checkpointing: for networks with activation checkpointing inside. Each scalar is then a
            call of a copy of the network, whose parameters are still there in the backward pass.
        mode: how a batch with several distinct scalars is run: "auto", in one pass where PyTorch
            can, or "grouped", one call of the network for each scalar.

    Returns:
        The module g, called as g(x, s).

    Raises:
        ValueError: an unknown option; a pattern that matches no parameter; no parameter to
            interpolate, or one that cannot be; fewer than two sets.
        RuntimeError: the network cannot be copied, as with `torch.nn.utils.weight_norm`, which
            `torch.nn.utils.parametrizations.weight_norm` replaces.
    """
    if mode not in ("auto", "grouped"):
        raise ValueError(f"mode must be 'auto' or 'grouped', got {mode!r}")
    if isinstance(schedule, Weights):
        if scalar is not None:
            raise ValueError("give scalar= to the schedule, not to interpolate")
        if num_sets not in (2, schedule.num_sets):
            raise ValueError("give num_sets= to the schedule, not to interpolate")
    elif schedule not in ("learnable", "linear", "mixture"):
        raise ValueError(
            "schedule must be 'learnable', 'linear', 'mixture', an InterpolationFunction or a "
            f"Mixture, got {schedule!r}"
        )
    elif schedule == "mixture":
        schedule = Mixture(num_sets, num_scalars, scalar)
    else:
        schedule = InterpolationFunction(num_scalars, schedule, scalar=scalar, num_sets=num_sets)
    doubled = _doubled(net, include, exclude)
    _check(net, doubled)
    names = inspect.signature(net.forward).parameters
    if unknown := {*as_list(shared)} - {*names}:
        raise ValueError(f"shared={sorted(unknown)}: forward has the arguments {', '.join(names)}")
    sets = [net, *(_further_set(net, doubled) for _ in range(schedule.num_sets - 1))]
    for module in own_modules(net):
        own = {leaf for leaf, p in module._parameters.items() if id(p) in doubled}
        if "weight" in own:
            prepare(module)
        if own and not isinstance(module, Affine):
            module.register_forward_pre_hook(refuse_recomputation)
    return Interpolated(sets, schedule, mode, as_list(shared), checkpointing)


def _check(net: nn.Module, doubled: set[int]) -> None:
    """Raise ValueError if parameters cannot be interpolated."""
    stored = {_storage(p) for p in net.parameters() if id(p) in doubled and not is_lazy(p)} - {None}
    for prefix, module in net.named_modules():
        where = f"{prefix or 'the network'} ({type(module).__name__})"
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{where} is a ScriptModule, whose parameters are fixed")
        leaves: dict[str, Any] = module._parameters
        for leaf, p in leaves.items():
            if is_lazy(p):
                raise ValueError(f"{where} has no shapes yet; run the network before interpolate")
            if id(p) not in doubled:
                continue
            name = f"{prefix}.{leaf}".lstrip(".")
            if not (p.is_floating_point() or p.is_complex()):
                raise ValueError(f"{name} has dtype {p.dtype}; exclude=[{name!r}]")
        for name in vars(module).keys() - COMMON:
            known = name == "_flat_weights" and isinstance(module, nn.RNNBase)
            kept = () if known else tree_leaves(vars(module)[name])
            if any(isinstance(v, Tensor) and _storage(v) in stored for v in kept):
                raise ValueError(
                    f"{where} keeps a parameter, or a view of one, in {name}, where it cannot be "
                    "interpolated; use nn.ParameterList, or read the attribute in forward"
                )


def _storage(tensor: Tensor) -> int | None:
    plain = tensor.layout == torch.strided and not is_traceable_wrapper_subclass(tensor)
    return tensor.untyped_storage().data_ptr() or None if plain else None


def _further_set(net: nn.Module, doubled: set[int]) -> nn.Module:
    """A copy without what belongs to theta0 alone: buffers and shared parameters."""
    theta = copy.deepcopy(net)
    copied: Any
    for module, copied in zip(net.modules(), theta.modules(), strict=True):
        common = [leaf for leaf, p in module._parameters.items() if id(p) not in doubled]
        copied._parameters.update(dict.fromkeys(common))
        copied._buffers.update(dict.fromkeys(copied._buffers))
        if hasattr(copied, "track_running_stats"):
            copied.track_running_stats = False  # load_state_dict would require the statistics
    return theta


def _doubled(net: nn.Module, include: Iterable[str], exclude: Iterable[str]) -> set[int]:
    """The ids of the parameters that are interpolated.

    A tied parameter is doubled if any of its names is. The phi of an interpolated network inside
    is not: lambda would have to be interpolated.
    """
    parameters = dict(net.named_parameters(remove_duplicate=False))
    names = chosen("parameters", parameters, include) - chosen("parameters", parameters, exclude)
    doubled = {id(parameters[name]) for name in names} - {id(phi) for phi in _phis(net)}
    if not doubled:
        raise ValueError(f"{type(net).__name__} has no parameters to interpolate")
    return doubled


def _phis(net: nn.Module) -> list[nn.Parameter]:
    phis = [m.phi for m in net.modules() if isinstance(m, Weights)]
    return [phi for phi in phis if phi is not None]


def parameter_groups(
    net: nn.Module, lr: float, lr_lambda: float, weight_decay_lambda: float | None = None
) -> list[dict[str, Any]]:
    """Optimizer parameter groups: phi with learning rate lr_lambda, all other parameters with lr.

        >>> net = interpolate(nn.Linear(2, 3))
        >>> optimizer = torch.optim.AdamW(parameter_groups(net, lr=1e-4, lr_lambda=1e-3))
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.0001, 0.001]

    Args:
        net: any module. It may contain interpolated networks or none.
        lr, lr_lambda: learning rates.
        weight_decay_lambda: weight decay of phi, which pulls lambda towards a straight line.
            None for the optimizer's default.

    Returns:
        One group for the network, and one for phi if there are any.
    """
    phis = _phis(net)
    ids = set(map(id, phis))
    groups = [{"params": [p for p in net.parameters() if id(p) not in ids], "lr": lr}]
    if phis:
        decay = {} if weight_decay_lambda is None else {"weight_decay": weight_decay_lambda}
        groups.append({"params": phis, "lr": lr_lambda, **decay})
    return groups
