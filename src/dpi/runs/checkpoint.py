"""Checkpoints, read without running code that they may hold."""

import zipfile
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import TypedDict

from dpi.errors import UserError
from dpi.runs.check import STRICT

KEYS = {
    "state_dict": dict[str, Tensor],
    "current_model_state": dict[str, Tensor],
    "global_step": Annotated[int, Field(ge=0, lt=2**31)],
}
"""What a checkpoint of train.py has."""


class _Optimizer(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True)

    state: dict[int, dict[str, Any]]
    """AdamW's moments, by parameter."""


RESUMED = {
    "optimizer_states": Annotated[list[_Optimizer], Field(min_length=1, max_length=1)],
    "callbacks": dict[str, dict[Any, Any]],
    "loops": dict[str, dict[str, Any]],
    "pytorch-lightning_version": str,
}
"""What one has from which a training goes on; that of an average has weights alone."""


def load_checkpoint(path: Path, further: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read a checkpoint of train.py; never runs code that it may hold.

    Args:
        path: of the file.
        further: types of keys that it has to have beside KEYS.

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
    for key, kind in (KEYS | (further or {})).items():
        found = checkpoint.get(key) if isinstance(checkpoint, dict) else None
        try:
            TypeAdapter(kind, config=STRICT).validate_python(found)
        except ValidationError:
            raise UserError(
                f"{path} has no {key} as train.py writes it: put another checkpoint in its place"
            ) from None
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
    # The loss's weighting is no part of the network.
    weights = {name: of for name, of in state.items() if not name.startswith("weighting.")}
    own = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    for name in sorted(own.keys() | weights.keys()):
        _check_tensor(path, name, weights.get(name), own.get(name))
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def check_moments(optimizer: Optimizer, moments: dict[int, dict[str, Any]], path: Path) -> None:
    """Raise UserError if AdamW's moments in a checkpoint do not fit the parameters.

    PyTorch does not compare them, and its fused kernel writes beyond the end of a shorter one.
    A parameter that never had a gradient has none.
    """
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    for i, found in moments.items():
        like = parameters.get(i)
        expected = {"exp_avg": like, "exp_avg_sq": like, "step": torch.zeros(())}
        for key, tensor in expected.items():
            _check_tensor(path, f"{key} of parameter {i}", found.get(key), tensor)


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
    if found is not None and found.is_floating_point() and not found.isfinite().all():
        raise UserError(f"{path} is of a training that diverged: {name} is not finite")
