"""A run: a folder that holds one model's configuration, its checkpoint and what it has shown."""

import hashlib
import os
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
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

CONFIG = "config.yaml"
CHECKPOINT = "last.ckpt"
SPLIT = "split.json"

KEYS = ("framework", "arch", "cond", "image_size", "data.source", "training.steps")
"""What the configuration of a run has at least."""


def build(cfg: DictConfig) -> tuple[Framework, nn.Module]:
    """Make the framework and the conditioned network g(x, s) that a configuration names.

    Args:
        cfg: with sections framework, arch, cond and the number image_size.

    Raises:
        UserError: a combination that the paper excludes, settings that the network refuses, or
            a picture size that it cannot work on. Tried on shapes alone, so it costs nothing.
    """
    try:
        network = sketch(cfg)
        picture = torch.empty(1, 3, cfg.image_size, cfg.image_size, device="meta")
        network(picture, torch.tensor(0))
        return _assemble(cfg)
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, InstantiationException) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"this network cannot be built for image_size={cfg.image_size}: {line}"
        ) from error


def sketch(cfg: DictConfig) -> nn.Module:
    """The network that `build` makes, on the "meta" device: shapes without numbers."""
    with torch.device("meta"):
        return _assemble(cfg)[1]


def _assemble(cfg: DictConfig) -> tuple[Framework, nn.Module]:
    with torch.device("cpu"):
        framework = instantiate(cfg.framework)
    arch = instantiate(cfg.arch, _partial_=True)
    return framework, instantiate(cfg.cond, _partial_=True)(network=arch, framework=framework)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours; never runs code that it may hold.

    Returns:
        `state_dict` (the averaged weights), `current_model_state`, `global_step`, and what
        Lightning keeps beside them.

    Raises:
        UserError: there is none, or it is truncated, holds code, or was written by others.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"there is no checkpoint {path}: train first, or name another run"
        ) from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is not a checkpoint of train.py: it is no checkpoint at all, or holds code, "
            "which is not run"
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        line = str(error).splitlines()[0] if str(error) else "it is empty"
        raise UserError(f"{path} cannot be read, it may be truncated: {line}") from None
    expected = {"state_dict", "current_model_state", "global_step"}
    if not isinstance(checkpoint, dict) or not expected <= checkpoint.keys():
        raise UserError(f"{path} was not written by train.py: it lacks {sorted(expected)}")
    return checkpoint


def load_weights(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a checkpoint's `state_dict` or `current_model_state` into the conditioned network.

    Raises:
        UserError: the weights belong to another configuration; says which is the first.
    """
    prefix = "network."
    weights = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    own = network.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        theirs = tuple(weights[name].shape) if name in weights else "absent"
        ours = tuple(own[name].shape) if name in own else "absent"
        if theirs != ours:
            raise UserError(
                f"{path} belongs to another configuration: {name} is {theirs} there, {ours} here"
            )
    network.load_state_dict(weights)


@dataclass(frozen=True)
class Run:
    """A trained, or partly trained, model."""

    folder: Path
    cfg: DictConfig
    framework: Framework
    network: nn.Module
    """g(x, s) with the averaged (EMA) weights, in evaluation mode, on the CPU."""
    step: int
    """Optimizer steps taken."""

    @property
    def finished(self) -> bool:
        """Whether it has taken all the steps that it was to take."""
        return self.step >= self.cfg.training.steps

    @cached_property
    def weights(self) -> str:
        """Eight hexadecimal digits that tell these weights from others."""
        return fingerprint(self.network)


def fingerprint(network: nn.Module) -> str:
    """Eight hexadecimal digits of the hash of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def open_run(folder: str | os.PathLike[str], trust: bool = False) -> Run:
    """Open a run's folder.

    Args:
        folder: as printed by train.py.
        trust: also make objects from outside `dpi` that the configuration names (a network of
            your own). A stranger's configuration could name anything.

    Raises:
        UserError: no such run, a damaged one, or one that names code from outside without trust.
    """
    folder = Path(folder)
    cfg = read_config(folder)
    if not trust:
        hint = "; if you know where this run comes from, say trust=true"
        refuse_foreign_code(cfg, str(folder / CONFIG), hint)
    framework, network = build(cfg)
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    load_weights(network, checkpoint["state_dict"], folder / CHECKPOINT)
    return Run(folder, cfg, framework, network.eval(), checkpoint["global_step"])


def read_config(folder: Path) -> DictConfig:
    """The configuration that a run was started with; UserError where there is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} is not a run: it holds no {CONFIG}")
    try:
        cfg = OmegaConf.load(path)
    except Exception as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    missing = [key for key in KEYS if OmegaConf.select(cfg, key) is None]
    if missing:
        raise UserError(f"{path} is not the configuration of a run: it lacks {', '.join(missing)}")
    return cfg


def refuse_foreign_code(cfg: DictConfig, where: str, hint: str = "") -> None:
    """Raise UserError where a configuration would have anything made that is not dpi's own.

    Args:
        cfg: with some of the sections framework, arch, cond, data.source.
        where, hint: what it is called, and what to do.
    """
    for section, package in (
        ("framework", dpi.frameworks),
        ("arch", dpi.architectures),
        ("cond", dpi.conditioning),
        ("data.source", dpi.data),
    ):
        # What makes a part of the model is named like a class; functions may write files.
        makers = [name for name in package.__all__ if name[0].isupper()]
        allowed = {f"{package.__name__}.{name}" for name in makers}
        settings = OmegaConf.select(cfg, section)
        if settings is None:
            continue
        for target in _targets(OmegaConf.to_container(settings, resolve=True)):
            if target not in allowed:
                raise UserError(f"{where} names code from outside, {section}: {target}{hint}")


def _targets(node: Any) -> list[str]:
    if isinstance(node, list):
        return [target for item in node for target in _targets(item)]
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + _targets(list(node.values()))
    return []
