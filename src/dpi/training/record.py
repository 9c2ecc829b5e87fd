"""What a run is, written into its folder, so that no other run is taken for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dpi.configuration import flat
from dpi.errors import UserError
from dpi.runs import CHECKPOINT, CONFIG, SPLIT, read_config

IDENTITY = (
    "seed",
    "image_size",
    "framework",
    "arch",
    "cond",
    "training",
    "data.held_out",
    "data.split_seed",
    "data.random_flip",
    "trainer.accumulate_grad_batches",
)
"""The settings that make a run what it is; the rest says how it is carried out."""

FREE = ("training.steps", "training.show")
"""Of those, what may change when a run goes on: its length, and what it shows."""


def check_settings(cfg: DictConfig, run: Path) -> None:
    """Raise UserError if the folder holds a checkpoint of a run with other settings."""
    if not (run / CHECKPOINT).exists():
        return
    then, now = _identity(read_config(run)), _identity(cfg)
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            raise UserError(
                f"{run} holds a run with other settings ({key} was {then.get(key)}, now "
                f"{now.get(key)}): give the new one a name of its own with tag=NAME, "
                "or delete that folder"
            )


def record(
    cfg: DictConfig, run: Path, fingerprint: str, num_pictures: int, held_out: np.ndarray
) -> None:
    """Write down the configuration, the pictures, and which of them are held out.

    Args:
        cfg: the composed configuration; written with every reference resolved.
        run: the folder, made if need be.
        fingerprint, num_pictures: of the source.
        held_out: indices of the held-out pictures.

    Raises:
        UserError: the run was trained on other pictures.
    """
    pictures = {
        "fingerprint": fingerprint,
        "pictures": num_pictures,
        "held_out": held_out.tolist(),
    }
    path = run / SPLIT
    if (run / CHECKPOINT).exists() and path.exists():
        before = json.loads(path.read_text())
        if before != pictures:
            raise UserError(
                f"{run} was trained on other pictures ({before['pictures']}, now {num_pictures}): "
                "point data.path at the same ones, or start a new run with tag=NAME"
            )
    run.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(pictures))
    _write(run / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))


def _write(path: Path, text: str) -> None:
    # Whole or not at all: a run with half a configuration could not be gone on with.
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _identity(cfg: DictConfig) -> dict[str, Any]:
    values = flat(OmegaConf.to_container(cfg, resolve=True))
    return {k: v for k, v in values.items() if _under(k, IDENTITY) and not _under(k, FREE)}


def _under(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
