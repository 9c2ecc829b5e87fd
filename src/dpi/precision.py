"""What stays in float32, whatever autocast and TF32 do to the rest of a network."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def uncast(module: nn.Module, x: Tensor, *args: Any) -> Tensor:
    """module(x, *args) in the precision of its weights, also under autocast.

    For what the scalar and the image pass on their way into a network, and for its output. Rounded
    to bfloat16, t/1000 has 507 values left, and an image with little noise loses much of it.
    """
    if not autocasts(x.device):
        return module(x, *args)
    with torch.autocast(x.device.type, enabled=False):
        return module(x.to(next(module.parameters()).dtype), *args)


def autocast_off(device: torch.device) -> AbstractContextManager:
    """A context without autocast on the device."""
    return torch.autocast(device.type, enabled=False) if autocasts(device) else nullcontext()


def cast(x: Tensor) -> Tensor:
    """x as autocast will convert it for the next convolution, if it is on.

    Left to autocast, a sum of x and half-precision activations is in float32, and so is all that
    follows; several uses of x convert it several times.
    """
    if x.dtype == torch.float32 and autocasts(x.device):
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on; there is none on the meta device."""
    # torch.amp.is_autocast_available would say so, and break the graph of torch.compile.
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def forbid_tf32() -> None:
    """Let GPUs compute float32 in float32. TF32, which cuDNN would use, has 10 bits."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
