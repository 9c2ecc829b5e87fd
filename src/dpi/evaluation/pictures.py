"""The pictures of a run: those it was trained on, and those it has never seen."""

import json
from pathlib import Path

import numpy as np
from hydra.utils import instantiate

from dpi.data import memory_map
from dpi.errors import UserError
from dpi.runs import SPLIT, Run


def held_out(run: Run, count: int) -> np.ndarray:
    """So many of the pictures that the run was not trained on, always the same ones.

    Returns:
        (count, 3, H, W) uint8; the first of a random order, so that fewer are a part of more.

    Raises:
        UserError: there are fewer, or the run's pictures are not what they were.
    """
    pictures, indices = _split(run)
    if len(indices) < count:
        raise UserError(
            f"{run.folder} held out {len(indices)} pictures and {count} are asked for: "
            f"give pictures={len(indices)} or fewer"
        )
    return pictures[np.random.default_rng(0).permutation(indices)[:count]]


def training(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """All of a run's pictures, (N, 3, H, W) uint8, and the indices of those it was trained on.

    Raises:
        UserError: the run's pictures are not what they were.
    """
    pictures, indices = _split(run)
    return pictures, np.setdiff1d(np.arange(len(pictures)), indices)


def _split(run: Run) -> tuple[np.ndarray, np.ndarray]:
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
    cache = Path(run.cfg.data.cache_dir)
    return memory_map(source, cache, run.cfg.data.name), indices
