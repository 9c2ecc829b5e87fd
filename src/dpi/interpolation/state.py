"""What a forward pass with other parameters must not leave behind, and must not use."""

import copy
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dis import get_instructions
from functools import partial
from operator import is_
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

LOCK = threading.RLock()


def one_at_a_time() -> AbstractContextManager[Any]:
    """A context for one thread at a time: a network's tensors are replaced in place."""
    return nullcontext() if torch.compiler.is_compiling() else LOCK


CONTAINERS = (dict, list, set, tuple, deque)
OPAQUE = (nn.Module, Tensor, type, FunctionType, MethodType, ModuleType, partial)
COMMON = vars(nn.Module()).keys() - {"training"}
"""Attributes of every module, which PyTorch looks after."""
REGISTERS = "_modules", "_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks"


@contextmanager
def guarded(
    modules: Collection[nn.Module], names: Mapping[int, str], batched: bool, checkpoints: bool
) -> Iterator[None]:
    """Around a call of a network with other parameters: what it keeps is put back, and what would
    use its own parameters is refused.

    Args:
        modules: of the network.
        names: of the parameters that are replaced, by their ids.
        batched: whether this is one pass.
        checkpoints: whether activation checkpointing inside is exact.
    """
    if torch.compiler.is_compiling():
        yield
        return
    if _PROBE.weight is _PROBE.weight and any(map(parametrize.is_parametrized, modules)):
        raise RuntimeError("parametrize.cached() keeps weights for other scalars: leave it")
    once = nullcontext() if checkpoints else no_checkpoints()
    with put_back(modules), Originals(names, batched), once:
        yield


_PROBE = nn.Linear(1, 1, bias=False)
"""Its weight is computed at each look, but not within `parametrize.cached()`."""
parametrize.register_parametrization(_PROBE, "weight", nn.ReLU())


@contextmanager
def put_back(modules: Collection[nn.Module]) -> Iterator[None]:
    """Undo what happens inside to the attributes of modules, to the objects that these are, and to
    the dictionaries, lists, sets and deques in them.

    A network may keep what it computed from its parameters (a cache in evaluation mode, a
    `cached_property`), and the next pass has other parameters. Buffers keep what is written into
    them; buffers and hooks that are registered inside are removed.

    Raises:
        RuntimeError: a module or parameter was made inside.
    """
    registers = [(r := vars(module)[name], len(r)) for module in modules for name in REGISTERS]
    kept: dict[int, tuple[Any, Any]] = {}
    for module in modules:
        state = vars(module)
        kept[id(state)] = state, state.copy()
        for value in [state[name] for name in state.keys() - COMMON]:
            _keep(value, kept)
            if hasattr(value, "__dict__") and not isinstance(value, OPAQUE):
                _keep(vars(value), kept)
    made: list[Any] = []
    try:
        yield
    finally:
        for register, count in registers:
            made += [register.pop(name) for name in list(register)[count:]]
        for container, before in kept.values():
            if _differ(container, before):
                now, old = _items(container), _items(before)
                made += [item for item in now if not any(item is other for other in old)]
                container.clear()
                (container.update if isinstance(before, dict | set) else container.extend)(before)
    known = {id(x) for m in modules for x in (m, *m._parameters.values())}
    leaves = tree_leaves(made)
    if any(isinstance(v, nn.Parameter | nn.Module) and id(v) not in known for v in leaves):
        raise RuntimeError(
            "the network makes a module or parameter in its forward pass, which cannot be "
            "interpolated; run the network once before interpolate"
        )


def _keep(value: Any, kept: dict[int, tuple[Any, Any]]) -> None:
    if isinstance(value, CONTAINERS) and id(value) not in kept:
        kept[id(value)] = value, copy.copy(value)
        for item in _items(value):
            _keep(item, kept)


def _items(container: Any) -> list[Any]:
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


def _differ(one: Any, other: Any) -> bool:
    if len(one) != len(other) or not all(map(is_, one, other)):
        return True
    return isinstance(one, dict) and not all(map(is_, one.values(), other.values()))


@contextmanager
def undone_on_error(net: nn.Module, device: torch.device) -> Iterator[None]:
    """If there is an exception inside, undo what happened to buffers and random numbers."""
    buffers = [
        (module._buffers, name, buffer, buffer.clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    random: list[Any] = [torch]
    if device.type not in ("cpu", "meta"):
        random.append(torch.get_device_module(device))
    states = [source.get_rng_state() for source in random]
    try:
        yield
    except Exception:
        for register, name, buffer, content in buffers:
            register[name] = buffer
            buffer.data.copy_(content)  # autograd may have saved it
        for source, state in zip(random, states, strict=True):
            source.set_rng_state(state)
        raise


def refuse_functions(net: nn.Module) -> None:
    """Raise RuntimeError if a function that a network holds refers to a part of the network by a
    closure, a default or a global name: that of a copy of the network would refer to the same."""
    parts = (*net.named_modules(), *net.named_parameters(), *net.named_buffers())
    own = {id(part): name for name, part in parts}
    left: list[Any] = [of for m in net.modules() for of in (vars(m), type(m).forward)]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, nn.Module | Tensor | type | ModuleType):
            continue
        seen.add(id(value))
        if isinstance(value, CONTAINERS):
            left += _items(value)
        elif isinstance(value, FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
            loaded = {of.argval for of in get_instructions(value) if of.opname == "LOAD_GLOBAL"}
            cells += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
            for held in (*cells, *map(value.__globals__.get, loaded)):
                of = getattr(held, "__self__", held)
                for part in of.modules() if isinstance(of, nn.Module) else (of,):
                    if id(part) in own:
                        raise RuntimeError(
                            f"the network uses theta0.{own[id(part)]} from a function, and so "
                            "would a copy of it: read the attribute of its module"
                        )
            left += cells
        elif isinstance(value, partial | MethodType):
            left.append(value.func if isinstance(value, partial) else value.__func__)
        elif hasattr(value, "__dict__"):
            left.append(vars(value))


class Originals(TorchFunctionMode):
    """Refuse operations on parameters that other values stand in for.

    A network that holds a parameter in a closure or another object of its own would compute with
    theta_0.

    Args:
        names: of the parameters, by their ids.
        batched: whether this is one pass, in which vmap hides whether tensors require gradients
            and gives each group its own numbers of a generator. Both are refused.
    """

    def __init__(self, names: Mapping[int, str], batched: bool) -> None:
        super().__init__()
        self.names, self.batched = names, batched

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.batched and kwargs.get("generator") is not None:
            raise RuntimeError("random numbers of a generator of its own")
        if self.batched and func == REQUIRES_GRAD:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith(("torch.", "dpi.interpolation.")):
                raise RuntimeError("a look at requires_grad, which vmap hides")
        result = func(*args, **kwargs)
        for value in (*args, *kwargs.values()):
            for item in value if isinstance(value, list | tuple) else (value,):
                if id(item) in self.names and not isinstance(result, METADATA):
                    name = f"theta0.{self.names[id(item)]}"
                    raise RuntimeError(
                        f"the network uses {name} from a closure or an object, where it cannot be "
                        "interpolated: read the attribute of its module"
                    )
        return result


REQUIRES_GRAD = getattr(Tensor.requires_grad, "__get__")  # noqa: B009
METADATA = (bool, int, str, torch.Size, torch.dtype, torch.device, torch.layout, type(None))


RECOMPUTED = (
    "activation checkpointing inside the network needs interpolate(..., checkpointing=True); or "
    "checkpoint the whole: checkpoint(net, x, s)"
)


@contextmanager
def no_checkpoints() -> Iterator[None]:
    """Refuse torch.utils.checkpoint inside, if it is not also used outside."""
    with ExitStack() as stack:
        with suppress(RuntimeError):
            stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(RECOMPUTED))
        yield


def refuse_recomputation(module: nn.Module, args: Any = None) -> None:
    """A forward pre-hook of modules with interpolated parameters: raise RuntimeError in a backward
    pass, if all of them are their own and none is theta(s). For what `no_checkpoints` cannot see.
    """
    # A private name: nothing public says that a backward pass is running.
    if torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
        return
    if all(isinstance(p, nn.Parameter) for p in module._parameters.values() if p is not None):
        raise RuntimeError(RECOMPUTED)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def refuse_mixing(net: nn.Module, n: int = 1) -> None:
    """Raise RuntimeError if a layer mixes samples, and should mix those of equal scalars, which
    cannot be looked at; of n of them it can."""
    for name, module in net.named_modules():
        if isinstance(module, BATCH_NORMS) and (
            module.training if module.running_mean is not None else n == 1
        ):
            raise RuntimeError(
                f"{name} ({type(module).__name__}) mixes samples of equal scalars, which here "
                "(torch.compile, torch.func, gradients of s) cannot be found: use net.eval()"
            )
