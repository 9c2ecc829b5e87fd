"""Checkpoints, read without running code that they may hold."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dpi.errors import UserError

KEYS = {"state_dict": dict, "current_model_state": dict, "global_step": int}
"""What a checkpoint of train.py has, beside what Lightning needs."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of train.py; never runs code that it may hold.

    Returns:
        `state_dict` (the averaged weights), `current_model_state`, `global_step`, and what
        Lightning keeps beside them.

    Raises:
        UserError: there is none, or it is truncated, holds code, or is not one of train.py.
    """
    try:
        if not path.is_file():  # a pipe would wait for its writer
            raise FileNotFoundError
        _check_sums(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        others = sorted(other.name for other in path.parent.glob("*.ckpt"))
        hint = f"choose from {', '.join(others)}" if others else "train first, or name another run"
        raise UserError(f"there is no checkpoint {path}: {hint}") from None
    except Exception as error:  # whatever the file is
        line = str(error).partition("\n")[0] or "it is empty"
        raise UserError(
            f"{path} is damaged, no checkpoint, or holds code, which is not run: {line}"
        ) from None
    for key, kind in KEYS.items():
        found = checkpoint.get(key) if isinstance(checkpoint, dict) else None
        weights = found.values() if isinstance(found, dict) else ()
        if not isinstance(found, kind) or not all(isinstance(w, Tensor) for w in weights):
            raise UserError(f"{path} was not written by train.py: its {key} is missing or another")
    return checkpoint


def _check_sums(path: Path) -> None:
    # The file is a zip archive, with a checksum of each tensor that torch.load does not look at.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def load_weights(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a checkpoint's `state_dict` or `current_model_state` into the conditioned network.

    Raises:
        UserError: see `check_weights`.
    """
    network.load_state_dict(check_weights(network, state, path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a .safetensors file of `dpi.hub`, or the averaged ones of a checkpoint.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix != ".safetensors":
        return load_checkpoint(path)["state_dict"]
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def check_weights(network: nn.Module, state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights of the conditioned network in a checkpoint, by the network's names.

    Raises:
        UserError: they belong to another configuration, or are not finite; names the first that
            does not fit.
    """
    prefix = "network."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if not name.startswith("weighting.")  # of the loss: no part of the network
    }
    own = network.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        _check_tensor(path, name, weights.get(name), own.get(name))
    return weights


def check_moments(optimizer: Optimizer, moments: dict[int, dict[str, Any]], path: Path) -> None:
    """Raise UserError if AdamW's moments in a checkpoint do not fit the parameters.

    PyTorch does not compare them, and its fused kernel writes beyond the end of a shorter one.
    A parameter that never had a gradient has none.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        expected = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
        for key, like in expected.items() if i in moments else ():
            _check_tensor(path, f"{key} of parameter {i}", moments[i].get(key), like)


def _check_tensor(path: Path, name: str, found: Any, like: Tensor | None) -> None:
    theirs, ours = (
        f"{tuple(x.shape)} {x.dtype} {x.layout}{' without values' * x.is_meta}"
        if isinstance(x, Tensor)
        else "absent"
        for x in (found, like)
    )
    if theirs != ours:
        raise UserError(
            f"{path} belongs to another configuration: {name} is {theirs} there, {ours} here"
        )
    if found.is_floating_point() and not found.isfinite().all():
        raise UserError(f"{path} is of a training that diverged: {name} is not finite")
