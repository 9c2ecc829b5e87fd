"""A simulated accelerator: finds mistakes with devices, and what the CPU waits for, without a GPU.

    with Simulated() as accelerator:
        y = net.to(DEVICE)(x.to(DEVICE, non_blocking=True))
    assert accelerator.waits == []

A tensor on it wraps a tensor on the CPU, where everything is computed, so that results equal those
of the CPU. What is simulated are the rules of CUDA:

- An operation takes tensors of one device. Tensors without dimensions may be on the CPU in
  elementwise operations, and indices may be.
- The CPU waits for the device where it needs to know a value: `item`, `tolist`, a condition, a copy
  to the CPU, a result whose shape depends on values. It also waits to copy its own memory to the
  device, unless with non_blocking=True.

Each wait is an entry of `waits`, the operation and the line that led to it.

It is neither fast nor asynchronous, so it finds no race, and no memory that is changed too early.
Its random numbers are those of the CPU. It has no autocast, streams, pinned memory or
`torch.compile`, and `Module.to` does not keep parameters tied.

It takes the place of the device "meta", which has all that autograd needs. PyTorch's private-use
device would have to be registered, for the whole process and before its first backward pass.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
CPU = torch.device("cpu")
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount"}
WAITING |= {"_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"}
"""Operations whose result, or the shape of it, the CPU has to know."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
INTERNALS = (str(Path(torch.__file__).parent), __file__, "<")
ROOT = Path(__file__).parents[2]


class SimulatedTensor(torch.Tensor):
    """A tensor on the device, with its values in `host`."""

    @staticmethod
    def __new__(cls, host: Tensor) -> "SimulatedTensor":
        where = {"strides": host.stride(), "storage_offset": host.storage_offset()}
        options = {"dtype": host.dtype, "device": DEVICE}
        with torch.inference_mode(False):  # a slice of a tensor from outside of it has to be a view
            tensor = torch.Tensor._make_wrapper_subclass(cls, host.size(), **where, **options)
        tensor.host = host
        return tensor

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:
        return f"simulated {self.host}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func} of a simulated tensor outside of Simulated()")


class HostGenerator(torch.Generator):
    """A generator that is on the CPU if it is asked for on the device."""

    def __new__(cls, device: Any = CPU) -> "HostGenerator":
        return super().__new__(cls, _host(device))


class Simulated(TorchDispatchMode):
    """The device exists while this is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __enter__(self) -> "Simulated":
        self._before = torch.Generator, torch.tensor, optimizer._get_fused_kernels_supported_devices
        torch.Generator, torch.tensor = HostGenerator, _by_way_of_the_cpu(torch.tensor)
        optimizer._get_fused_kernels_supported_devices = lambda: [CPU.type, "cuda", DEVICE.type]
        torch.meta = torch  # its random numbers
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.Generator, torch.tensor, supported = self._before
        del torch.meta
        optimizer._get_fused_kernels_supported_devices = supported

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose():  # in inference mode
            super().__enter__()
            try:
                return func.decompose(*args, **kwargs)
            finally:
                super().__exit__(None, None, None)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        simulated = [tensor for tensor in tensors if isinstance(tensor, SimulatedTensor)]
        to = torch.device(kwargs.get("device") or (DEVICE if simulated else CPU))
        if not simulated and to != DEVICE:
            return func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if name in ("_to_copy", "copy_"):
            source = tensors[-1].device
            to = args[0].device if name == "copy_" else to
            self._note_copy(source, to, bool(kwargs.get("non_blocking") or args[2:] == (True,)))
        else:
            self._check(func, name, args, tensors)
        given = {id(tensor.host): tensor for tensor in simulated}
        args, kwargs = tree_map_only(SimulatedTensor, lambda tensor: tensor.host, (args, kwargs))
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _host(kwargs["device"])}
        result = func(*args, **kwargs)
        if to != DEVICE:
            return result
        # An operation in place returns what it was given.
        wrap = lambda host: given[id(host)] if id(host) in given else SimulatedTensor(host)  # noqa: E731
        return tree_map_only(Tensor, wrap, result)

    def _note_copy(self, source: torch.device, to: torch.device, non_blocking: bool) -> None:
        if source == CPU and to == DEVICE and not non_blocking:
            self.waits.append(f"copy to the device at {_line()}")
        elif to == CPU:
            self.waits.append(f"copy to the CPU at {_line()}")

    def _check(self, func: Any, name: str, args: tuple, tensors: list[Tensor]) -> None:
        unknown = any(t.device == DEVICE and not isinstance(t, SimulatedTensor) for t in tensors)
        if unknown or torch.Tag.inplace_view in func.tags:
            made_by = ", or what made its arguments," if unknown else ""
            raise NotImplementedError(f"{func}{made_by} is not simulated")
        indices = [i for i in args[1] if i is not None] if name in INDEXING else []
        by_mask = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        if name in WAITING or by_mask:
            self.waits.append(f"{name}{' by a mask' if by_mask else ''} at {_line()}")
        if any(index.device == CPU for index in indices):
            self.waits.append(f"copy of an index to the device at {_line()}")
        may_mix = torch.Tag.pointwise in func.tags
        schema = zip(args, func._schema.arguments, strict=False)
        written = {id(a) for a, s in schema if s.alias_info and s.alias_info.is_write}
        allowed = {id(index) for index in indices}
        allowed |= {id(t) for t in tensors if may_mix and t.dim() == 0 and id(t) not in written}
        wrong = [t for t in tensors if t.device != DEVICE and id(t) not in allowed]
        if wrong:
            raise RuntimeError(f"{func} of tensors on the device and on the CPU, at {_line()}")


def _host(device: Any) -> torch.device:
    device = torch.device(device or CPU)
    return CPU if device == DEVICE else device


def _by_way_of_the_cpu(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.tensor, which would make a tensor of PyTorch's own meta device."""

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = make(data, device=_host(device), **options)
        return made if device is None else made.to(device)

    return tensor


def _line() -> str:
    """The line outside of PyTorch that is running."""
    frame = sys._getframe()
    while frame.f_code.co_filename.startswith(INTERNALS) and frame.f_back:
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"
