"""A network with other parameters, without touching the original."""

import functools
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

OWN_STATE = {*nn.Module().__dict__, "_compiled_call_impl", "_flat_weight_refs"}
"""Attributes that every module has, and one of RNNs that says how to lay out memory."""


class Replica:
    """A network of the same modules that share all but the given parameters with the original.

    Modules are copied shallowly, as `nn.DataParallel` does: buffers are the original's, and
    attributes that refer to modules or parameters of the network refer to the replica's. The
    original is not modified, so that threads do not disturb each other, and what the backward
    pass recomputes (`torch.utils.checkpoint`) sees the same parameters again.

    Args:
        net: the network.
        parameters: replacements, keyed by the parameters of net. Others are shared.
        isolated: copy buffers, too, and drop forward hooks and what a forward pass sets.

    Raises:
        TypeError: a module is compiled by itself.
    """

    def __init__(
        self, net: nn.Module, parameters: Mapping[Tensor, Any], isolated: bool = False
    ) -> None:
        self._parameters = parameters
        self._isolated = isolated
        self._copies: dict[nn.Module, nn.Module] = {}
        self.net = self._copy(net)
        self._attributes = []
        for module, copy in self._copies.items():
            state = copy.__dict__
            for name, value in list(state.items()):
                if type(value) not in VALUES and name not in OWN_STATE:
                    state[name] = self._translate(value)
            self._attributes.append((module, state, state.copy()))

    def _copy(self, module: nn.Module) -> nn.Module:
        if module in self._copies:
            return self._copies[module]
        if module._compiled_call_impl is not None or hasattr(module, "_orig_mod"):
            raise TypeError(
                f"{type(module).__name__} is compiled by itself; compile the interpolated network "
                "instead: torch.compile(net)"
            )
        copy = nn.Module.__new__(type(module))  # not by a __new__ of its own
        copy.__dict__ = state = module.__dict__.copy()
        self._copies[module] = copy
        get = self._parameters.get
        state["_parameters"] = {
            name: p if p is None else get(p, p) for name, p in module._parameters.items()
        }
        state["_modules"] = {
            name: child if child is None else self._copy(child)
            for name, child in module._modules.items()
        }
        for hooks in ("_forward_hooks", "_forward_pre_hooks"):
            if state[hooks]:
                state[hooks] = self._translate(state[hooks])
        if self._isolated:
            state["_forward_hooks"] = OrderedDict()
            state["_buffers"] = {
                name: buffer if buffer is None else buffer.clone()
                for name, buffer in module._buffers.items()
            }
        return copy

    def _translate(self, value: Any) -> Any:
        """Let an attribute refer to the replica where it refers to the original."""
        if type(value) in VALUES:
            return value
        if isinstance(value, nn.Module):
            return self._copies.get(value, value)
        if isinstance(value, Tensor):
            return self._parameters.get(value, value)
        kind = type(value)
        if kind in (list, tuple, set) or hasattr(kind, "_fields"):
            items = [self._translate(item) for item in value]
            if all(a is b for a, b in zip(value, items, strict=True)):
                return value
            return kind(*items) if hasattr(kind, "_fields") else kind(items)
        if kind in (dict, OrderedDict):
            found = {key: self._translate(item) for key, item in value.items()}
            return value if all(found[key] is value[key] for key in value) else kind(found)
        if kind is types.MethodType:
            owner = self._translate(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if kind is functools.partial:
            function, args = self._translate(value.func), map(self._translate, value.args)
            return functools.partial(function, *args, **self._translate(value.keywords))
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.net(*args, **kwargs)
        if not self._isolated:
            self._write_back()
        return output

    def _write_back(self) -> None:
        # What the forward pass keeps in attributes: caches, counters.
        for module, state, before in self._attributes:
            for name, value in state.items():
                if name not in OWN_STATE and before.get(name, before) is not value:
                    module.__dict__[name] = value


def check_compiler() -> None:
    """Raise RuntimeError if this PyTorch's compiler cannot follow a `Replica`.

    It would compile each layer by itself, and train many times slower than without.
    """
    if torch.__version__ < "2.13":
        raise RuntimeError(
            f"to compile interpolated parameters takes PyTorch 2.13 or later, this is "
            f"{torch.__version__}: update it, or do not compile"
        )


def check_references(net: nn.Module, harmless: dict[int, Any]) -> None:
    """Raise TypeError if the network refers to its modules or parameters where a `Replica` cannot
    translate it: in closures, default arguments, weak references and objects of other kinds.

    Args:
        net: the network.
        harmless: what was searched before, by id.
    """
    owned = {
        id(item) for module in net.modules() for item in (module, *module._parameters.values())
    }
    owned.discard(id(None))
    for name, module in net.named_modules():
        attributes = [
            (label, value)
            for label, value in module.__dict__.items()
            if type(value) not in VALUES and label not in OWN_STATE
        ]
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        for label, value in [*attributes, *(("a forward hook", hook) for hook in hooks)]:
            if isinstance(value, PLAIN) or harmless.get(id(value), harmless) is value:
                continue
            if _hides(value, owned, hidden=False, seen=set()):
                raise TypeError(
                    f"{name or 'the network'} ({type(module).__name__}): {label} refers to a "
                    "module or parameter of the network in a way that cannot be followed "
                    "(a closure or an object); make it a method, or a plain attribute"
                )
            harmless[id(value)] = value


VALUES = (bool, int, float, complex, str, bytes, type(None))
PLAIN = (*VALUES, Tensor, nn.Module, type)


def _hides(value: Any, owned: set[int], hidden: bool, seen: set[int]) -> bool:
    """Whether a reference to one of `owned` is out of a Replica's reach."""
    if id(value) in owned:
        return hidden
    if isinstance(value, PLAIN) or id(value) in seen:
        return False
    seen.add(id(value))
    inside, out_of_reach = _references(value)
    return any(_hides(item, owned, hidden or out_of_reach, seen) for item in inside)


def _references(value: Any) -> tuple[Iterator[Any], bool]:
    """What an object refers to, and whether a Replica cannot follow."""
    kind = type(value)
    if kind in (list, tuple, set) or hasattr(kind, "_fields"):
        return iter(value), False
    if isinstance(value, dict):
        return iter(value.values()), kind not in (dict, OrderedDict)
    if kind is types.MethodType:
        return iter((value.__self__, value.__func__)), False
    if kind is functools.partial:
        return iter((value.func, value.args, value.keywords)), False
    if isinstance(value, weakref.ref):
        return iter((value(),)), True
    if kind is types.FunctionType:
        cells = [cell for cell in value.__closure__ or () if cell != types.CellType()]
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        wrapped = (value.__dict__.get("__wrapped__"),)
        return iter((*(cell.cell_contents for cell in cells), *defaults, *wrapped)), True
    if isinstance(value, types.ModuleType) or not hasattr(value, "__dict__"):
        return iter(()), True
    return iter(vars(value).values()), True
