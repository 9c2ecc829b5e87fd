"""From a configuration to the framework and the conditioned network g(x, s)."""

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dpi.errors import UserError
from dpi.frameworks import Framework
from dpi.protocol import check_importable, check_protocol, targets

MODEL = ("framework", "arch", "cond", "image_size", "image_channels")
"""What describes a model."""


def build(cfg: DictConfig) -> tuple[Framework, nn.Module]:
    """Build the framework and the conditioned network that a configuration names.

    Args:
        cfg: with the keys of MODEL.

    Raises:
        Excluded: a combination that the method excludes.
        UserError: settings that the network refuses, or an image size or number of channels that
            it cannot work on; tried on the meta device first, where it costs nothing.
    """
    for section in (cfg.framework, cfg.arch, cfg.cond):
        for target in targets(OmegaConf.to_container(section, resolve=True)):
            check_importable(target)
    try:
        _check_shapes(cfg)
        return _instantiate(cfg)
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, InstantiationException) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"this network cannot be built for image_size={cfg.image_size} and "
            f"image_channels={cfg.image_channels}: {line}"
        ) from error


def _check_shapes(cfg: DictConfig) -> None:
    with torch.device("meta"):
        framework, network = _instantiate(cfg)
    images = torch.empty(2, *image_shape(cfg), device="meta")
    s = torch.tensor([0, framework.num_scalars - 1])
    corrupted, target = framework.corrupt(images, images, s)
    made = {"input": corrupted, "target": target, "output": network(images, s[0])}
    # Another shape could be broadcast to the images' in the loss.
    for what, tensor in made.items():
        if (shape := tuple(getattr(tensor, "shape", ()))) != images.shape:
            raise UserError(
                f"the network's {what} has shape {shape}, and the images {tuple(images.shape)}"
            )


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
    with torch.device("cpu"):
        framework = instantiate(cfg.framework)
    check_protocol(framework, Framework, "framework")
    arch = instantiate(cfg.arch, _partial_=True)
    return framework, instantiate(cfg.cond, _partial_=True)(network=arch, framework=framework)
