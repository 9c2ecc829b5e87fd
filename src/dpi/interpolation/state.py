"""What a forward pass with other parameters must not leave behind, and must not use."""

import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)
SKIPPED = {"_buffers", *(name for name in vars(nn.Module()) if "hooks" in name)}


@contextmanager
def put_back(net: nn.Module) -> Iterator[None]:
    """Undo what happens inside to the attributes of a network's modules, and to the dictionaries,
    lists, sets and deques in them.

    A network may keep what it computed from its parameters (a cache in evaluation mode, a
    `cached_property`), and the next pass has other parameters. Buffers keep what is written into
    them; those that are registered inside are removed.

    Raises:
        RuntimeError: a module or parameter was made inside.
    """
    modules = list(net.modules())
    kept: dict[int, tuple[Any, Any]] = {}
    for module in modules:
        state = vars(module)
        kept[id(state)] = state, state.copy()
        for name, value in state.items():
            if name not in SKIPPED:
                _keep(value, kept)
    buffers = [(module._buffers, len(module._buffers)) for module in modules]
    made: list[Any] = []
    try:
        yield
    finally:
        for container, before in kept.values():
            if not _same(container, before):
                made += _values(container)
                container.clear()
                (container.update if isinstance(before, dict | set) else container.extend)(before)
        for registered, count in buffers:
            for name in list(registered)[count:]:
                del registered[name]
    known = set(map(id, modules))
    if any(isinstance(v, nn.Parameter | nn.Module) and id(v) not in known for v in made):
        raise RuntimeError(
            "the network makes a module or parameter in its forward pass, which cannot be "
            "interpolated; run the network once before interpolate"
        )


def _keep(value: Any, kept: dict[int, tuple[Any, Any]]) -> None:
    if type(value) in CONTAINERS and id(value) not in kept:
        kept[id(value)] = value, value.copy()
        for item in _values(value):
            _keep(item, kept)


def _values(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _same(container: Any, before: Any) -> bool:
    pairs = zip(_values(container), _values(before), strict=False)
    return len(container) == len(before) and all(a is b for a, b in pairs)


@contextmanager
def undone_on_error(net: nn.Module, device: torch.device) -> Iterator[None]:
    """If there is an exception inside, undo what happened to buffers and random numbers."""
    buffers = [(m._buffers, m._buffers.copy()) for m in net.modules() if m._buffers]
    contents = [(b, b.clone()) for b in net.buffers()]
    random = torch.get_rng_state()
    accelerator = getattr(torch, device.type, None) if device.type != "cpu" else None
    on_device = accelerator.get_rng_state(device) if accelerator else None
    try:
        yield
    except Exception:
        for registered, before in buffers:
            registered.update(before)
        for buffer, before in contents:
            buffer.copy_(before)
        torch.set_rng_state(random)
        if accelerator:
            accelerator.set_rng_state(on_device, device)
        raise


class Originals(TorchFunctionMode):
    """Refuse operations on parameters that other values stand in for.

    A network that holds a parameter in a list, a closure or another object of its own would
    compute with theta_0.

    Args:
        names: of the parameters, by their ids.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in (*args, *(kwargs or {}).values()):
            for item in value if isinstance(value, list | tuple) else (value,):
                if id(item) in self.names and _has_tensor(result):
                    raise RuntimeError(
                        f"the network uses {self.names[id(item)]} other than as an attribute of "
                        "its module (from a list, a closure or an object), where it cannot be "
                        "interpolated; use nn.ParameterList, or read the attribute"
                    )
        return result


def _has_tensor(result: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(result))


def refuse_recomputation(module: nn.Module, args: Any) -> None:
    """A forward pre-hook of modules with interpolated parameters."""
    # The one private name of PyTorch here: nothing public says that a backward pass is running.
    if torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
        return
    if any(isinstance(p, nn.Parameter) for p in module._parameters.values()):  # not theta(s)
        raise RuntimeError(
            f"{type(module).__name__} is recomputed in the backward pass, after its parameters "
            "were put back: interpolate(..., checkpointing=True), or checkpoint the whole network"
        )


_PROBE = nn.Linear(1, 1, bias=False)
parametrize.register_parametrization(_PROBE, "weight", nn.Identity())


def refuse_cached_parametrizations(net: nn.Module) -> None:
    """Raise RuntimeError under `parametrize.cached()`, which would keep the weights of one scalar
    for another."""
    if _PROBE.weight is _PROBE.weight and any(map(parametrize.is_parametrized, net.modules())):
        raise RuntimeError("parametrize.cached() keeps weights for other scalars: leave it")
