"""The images of a run: those it was trained on, and those that were held out."""

from pathlib import Path

import numpy as np

from dpi.data import Split, memory_map
from dpi.errors import UserError
from dpi.runs.images import open_source
from dpi.runs.record import read_split
from dpi.runs.run import Run


def held_out_images(run: Run, count: int | None, at_most: int) -> np.ndarray:
    """Some of the images that the run was not trained on, always the same ones.

    Args:
        run: of which.
        count: how many; None for all of them, or `at_most`.

    Returns:
        (count, C, H, W) uint8; the first of a random order, so that fewer are a subset of more.

    Raises:
        UserError: there are fewer, or the data set has changed.
    """
    images, split = images_of(run)
    held_out = np.random.default_rng(0).permutation(split.held_out)
    if count is not None and len(held_out) < count:
        raise UserError(
            f"{run.folder} held out {len(held_out)} images and {count} are asked for: "
            f"give pictures={len(held_out)} or fewer, or null for all of them"
        )
    return images[held_out[: count or at_most]]


def images_of(run: Run) -> tuple[np.ndarray, Split]:
    """A run's images, (N, C, H, W) uint8, and how they were split.

    Raises:
        UserError: they are gone, or have changed since.
    """
    try:
        source = open_source(run.cfg)
    except UserError as error:  # whose advice is for train.py
        reason = str(error).partition(";")[0]
        raise UserError(f"{reason}; give data_path=, where the run's images are now") from None
    recorded = read_split(run.folder)
    if source.fingerprint != recorded.fingerprint:
        raise UserError(
            f"the images that {run.folder} was trained on have changed: "
            "give data_path=, a folder or file that holds them as they were"
        )
    images = memory_map(source, Path(run.cfg.data.cache_dir), run.cfg.data.name)
    held_out, left_out = np.array(recorded.held_out), np.array(recorded.left_out, int)
    train = np.setdiff1d(np.arange(len(images)), [*held_out, *left_out])
    return images, Split(train, held_out, left_out)
