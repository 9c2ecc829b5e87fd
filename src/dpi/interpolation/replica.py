"""A network with other parameters, without touching the original."""

import functools
import inspect
import types
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

OWN_STATE = frozenset(nn.Module().__dict__)
"""Attributes that every module has."""


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
        TypeError: a module cannot be copied; the message says which and why.
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
            for name in [name for name in state if name not in OWN_STATE]:
                state[name] = self._translate(state[name], module)
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
        state["_parameters"] = {name: get(p, p) for name, p in module._parameters.items()}
        state["_modules"] = {
            name: child if child is None else self._copy(child)
            for name, child in module._modules.items()
        }
        if self._isolated:
            state["_forward_hooks"] = {}
            state["_buffers"] = {
                name: buffer if buffer is None else buffer.clone()
                for name, buffer in module._buffers.items()
            }
        return copy

    def _translate(self, value: Any, module: nn.Module) -> Any:
        """Let an attribute refer to the replica where it refers to the original."""
        if isinstance(value, nn.Module):
            return self._copies.get(value, value)
        if isinstance(value, nn.Parameter):
            return self._parameters.get(value, value)
        kind = type(value)
        if kind in (list, tuple, set):
            translated = [self._translate(item, module) for item in value]
            same = all(a is b for a, b in zip(value, translated, strict=True))
            return value if same else kind(translated)
        if kind is dict:
            translated = {key: self._translate(item, module) for key, item in value.items()}
            return value if all(translated[key] is value[key] for key in value) else translated
        if kind is types.MethodType:
            owner = self._translate(value.__self__, module)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if kind is functools.partial:
            args = [self._translate(item, module) for item in value.args]
            return functools.partial(value.func, *args, **value.keywords)
        if kind is types.FunctionType and value.__closure__:
            held = inspect.getclosurevars(value).nonlocals.values()
            if any(isinstance(item, nn.Module) and item in self._copies for item in held):
                raise TypeError(
                    f"{type(module).__name__} has a function as attribute that holds a module of "
                    f"the network ({value.__qualname__}); make it a method"
                )
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
