"""From a configuration to the framework and the conditioned network g(x, s)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

import dpi.architectures
import dpi.conditioning
import dpi.data
import dpi.frameworks
from dpi.errors import UserError
from dpi.frameworks import Framework
from dpi.protocol import check_protocol, importable

MODEL = ("framework", "arch", "cond", "image_size", "image_channels")
"""What describes a model."""

OWN = {
    "framework": dpi.frameworks,
    "arch": dpi.architectures,
    "cond": dpi.conditioning,
    "data.source": dpi.data,
}
"""Where the objects of a section come from, unless they are the user's own."""

LEFT = "cond: dpi.conditioning.LowRank"


def build(cfg: DictConfig) -> tuple[Framework, nn.Module]:
    """Build the framework and the conditioned network that a configuration names.

    Args:
        cfg: with the keys of MODEL.

    Raises:
        Excluded: a combination that the method excludes.
        UserError: settings that the network refuses, or an image size or number of channels that
            it cannot work on; tried on the meta device first, where it costs nothing.
    """
    check_network(cfg)
    with _refusing(cfg):
        return _instantiate(cfg)


def check_network(cfg: DictConfig) -> None:
    """Raise what `build` raises, in a moment and without the memory of a network."""
    with _refusing(cfg):
        with torch.device("meta"):
            framework, network = _instantiate(cfg)
        images = torch.empty(2, *image_shape(cfg), device="meta")
        s = torch.tensor([0, framework.num_scalars - 1])
        corrupted, target = framework.corrupt(images, images, s)
        prediction = network(images, s[0])
        made = {"input": corrupted, "target": target, "output": prediction}
    # Another shape could be broadcast to the images' in the loss.
    for what, tensor in made.items():
        if (shape := tuple(getattr(tensor, "shape", ()))) != images.shape:
            raise UserError(
                f"the network's {what} has shape {shape}, and the images {tuple(images.shape)}"
            )


def image_shape(cfg: DictConfig) -> tuple[int, int, int]:
    """(C, H, W) of the images that a configuration names."""
    return cfg.image_channels, cfg.image_size, cfg.image_size


@contextmanager
def _refusing(cfg: DictConfig) -> Iterator[None]:
    try:
        with importable():
            yield
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, InstantiationException) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"this network cannot be built for image_size={cfg.image_size} and "
            f"image_channels={cfg.image_channels}: {line}"
        ) from error


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
    with torch.device("cpu"):
        framework = instantiate(cfg.framework)
    check_protocol(framework, Framework, "framework")
    arch = instantiate(cfg.arch, _partial_=True)
    return framework, instantiate(cfg.cond, _partial_=True)(network=arch, framework=framework)


def foreign_code(cfg: DictConfig) -> list[str]:
    """What a configuration would instantiate that is not dpi's own, e.g. "arch: mine.Network".

    Args:
        cfg: with some of the sections of OWN.
    """
    found = []
    for section, package in OWN.items():
        # What is part of a model is named like a class; functions may write files.
        allowed = {f"{package.__name__}.{name}" for name in package.__all__ if name[0].isupper()}
        node = OmegaConf.select(cfg, section)
        targets = _targets(OmegaConf.to_container(node, resolve=True)) if node is not None else []
        found += [f"{section}: {target}" for target in targets if target not in allowed]
    return found


def refuse_foreign_code(cfg: DictConfig, where: str, hint: str = "", trust: bool = False) -> None:
    """Raise UserError if a configuration names what dpi no longer has, or `foreign_code`.

    Args:
        cfg: the configuration.
        where, hint: what the message calls it, and what to do.
        trust: whether it may name foreign code.
    """
    found = foreign_code(cfg)
    if LEFT in found:
        raise UserError(
            f"{where} has low-rank sets, which left: commit 5255f5f is the last that reads them"
        )
    if found and not trust:
        raise UserError(f"{where} names code from outside, {found[0]}{hint}")


def _targets(node: Any) -> list[str]:
    if isinstance(node, list):
        return [target for item in node for target in _targets(item)]
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + _targets(list(node.values()))
    return []
