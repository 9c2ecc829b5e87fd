"""From a configuration to the framework and the conditioned network g(x, s)."""

import site
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from dpi.errors import UserError
from dpi.frameworks import Framework
from dpi.protocol import check_importable, check_protocol, targets


def build(cfg: DictConfig) -> tuple[Framework, nn.Module]:
    """Build the framework and the conditioned network that a configuration names.

    Args:
        cfg: with the keys of `dpi.runs.record.MODEL`.

    Raises:
        Excluded: a combination that the method excludes.
        UserError: settings that the network refuses.
    """
    with _in_one_line(cfg):
        return _instantiate(cfg)


def check_shapes(cfg: DictConfig) -> None:
    """Call the network with images: on the meta device, where it costs nothing, or on the CPU if it
    needs numbers.

    Raises:
        Excluded: as of `build`.
        UserError: also an image size or number of channels that the network cannot work on.
    """
    with _in_one_line(cfg):
        try:
            with torch.device("meta"):
                made = _call(cfg)
        except (RuntimeError, TypeError) as error:
            if "meta" not in str(error):
                raise
            made = _call(cfg)
    # Another shape could be broadcast to the images' in the loss.
    for what, tensor in made.items():
        shape, expected = tuple(getattr(tensor, "shape", ())), (2, *image_shape(cfg))
        if shape != expected:
            raise UserError(f"the network's {what} has shape {shape}, and the images {expected}")


@torch.no_grad()
def _call(cfg: DictConfig) -> dict[str, Any]:
    framework, network = _instantiate(cfg)
    images = torch.ones(2, *image_shape(cfg))
    s = torch.tensor([0, framework.num_scalars - 1], device="cpu")
    corrupted, target = framework.corrupt(images, images, s)
    return {"input": corrupted, "target": target, "output": network(images, s[0])}


@contextmanager
def _in_one_line(cfg: DictConfig) -> Iterator[None]:
    """Around code of the user's own: what it refuses is one line, and where that was, if there."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, HydraException, OmegaConfBaseException) as error:
        own = [frame for frame in extract_tb(error.__traceback__) if _is_foreign(frame.filename)]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise UserError(
            f"this network cannot be built for image_size={cfg.image_size} and "
            f"image_channels={cfg.image_channels}: {' '.join(str(error).split())}{where}"
        ) from error


def _is_foreign(path: str) -> bool:
    """Whether a file of Python is neither of dpi nor installed."""
    installed = (*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("stdlib"))
    return not path.startswith((*installed, str(Path(__file__).parents[1]), "<"))


def image_shape(cfg: DictConfig) -> tuple[int, int, int]:
    """(C, H, W) of the images that a configuration names."""
    return cfg.image_channels, cfg.image_size, cfg.image_size


def build_meta(cfg: DictConfig) -> nn.Module:
    """The network that `build` gives on the meta device: shapes without numbers."""
    with torch.device("meta"):
        return _instantiate(cfg)[1]


def set_memory_format(
    network: nn.Module, device: torch.device, channels_last: bool | None = None
) -> None:
    """Lay the weights of 2d convolutions out in memory, and with them all activations.

    Args:
        network: of whatever device.
        device: where it will run.
        channels_last: None for the faster of the two, see results/gpu.md: on GPUs cuDNN's kernels
            want channels last, but PyTorch's group normalization would convert every time.
    """
    if channels_last is None:
        normalizes = any(isinstance(module, nn.GroupNorm) for module in network.modules())
        channels_last = device.type == "cuda" and not normalizes
    if not channels_last:
        return
    # Module.to(memory_format=...) fails at five dimensions.
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def _instantiate(cfg: DictConfig) -> tuple[Framework, nn.Module]:
    for section in (cfg.framework, cfg.arch, cfg.cond):
        for target in targets(OmegaConf.to_container(section, resolve=True)):
            check_importable(target)
    with torch.device("cpu"):
        framework = instantiate(cfg.framework)
    check_protocol(framework, Framework, "framework")
    arch = instantiate(cfg.arch, _partial_=True)
    return framework, instantiate(cfg.cond, _partial_=True)(network=arch, framework=framework)
