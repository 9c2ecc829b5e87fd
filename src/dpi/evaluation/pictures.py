"""The pictures of a run: those it was trained on, and those it has never seen."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hydra.utils import instantiate

from dpi.data import memory_map
from dpi.errors import UserError
from dpi.runs import SPLIT, Run


class Pictures(NamedTuple):
    """A run's pictures and how they were split."""

    all: np.ndarray
    """(N, 3, H, W) uint8."""
    train: np.ndarray
    """Indices of those it was trained on."""
    held_out: np.ndarray
    """Indices of the others."""
    fingerprint: str
    """Of all of them; another set has another one."""


def held_out(run: Run, count: int) -> np.ndarray:
    """So many of the pictures that the run was not trained on, always the same ones.

    Returns:
        (count, 3, H, W) uint8; the first of a random order, so that fewer are a part of more.

    Raises:
        UserError: there are fewer, or the run's pictures are not what they were.
    """
    pictures = pictures_of(run)
    indices = pictures.held_out
    if len(indices) < count:
        raise UserError(
            f"{run.folder} held out {len(indices)} pictures and {count} are asked for: "
            f"give pictures={len(indices)} or fewer"
        )
    return pictures.all[np.random.default_rng(0).permutation(indices)[:count]]


def pictures_of(run: Run) -> Pictures:
    """A run's pictures; UserError where they are not what they were."""
    source = instantiate(run.cfg.data.source)
    try:
        split = json.loads((run.folder / SPLIT).read_text())
        fingerprint, indices = split["fingerprint"], np.array(split["held_out"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run.folder / SPLIT} cannot be read ({error}): it says which pictures were held out"
        ) from None
    if source.fingerprint != fingerprint:
        raise UserError(
            f"the pictures that {run.folder} was trained on have changed: "
            "give data_path=, where they are as they were"
        )
    pictures = memory_map(source, Path(run.cfg.data.cache_dir), run.cfg.data.name)
    train = np.setdiff1d(np.arange(len(pictures)), indices)
    return Pictures(pictures, train, indices, fingerprint)
