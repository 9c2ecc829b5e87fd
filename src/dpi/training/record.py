"""What a run is, written into its folder, so that no other run is taken for it."""

import json
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dpi.errors import UserError
from dpi.identity import identity
from dpi.runs import CHECKPOINT, CONFIG, SPLIT, read_config
from dpi.whole import write_whole


def check_settings(cfg: DictConfig, run: Path) -> None:
    """Raise UserError if the folder holds a checkpoint of a run with other settings."""
    if not (run / CHECKPOINT).exists():
        return
    then, now = identity(read_config(run)), identity(cfg)
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
    # A run with half a configuration could not be gone on with.
    write_whole(path, json.dumps(pictures))
    write_whole(run / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
