"""The files of a run's folder."""

from pathlib import Path

CONFIG = "config.yaml"
"""The configuration, every interpolation resolved."""
CHECKPOINT = "last.ckpt"
BEST = "best.ckpt"
"""The checkpoint of the lowest held-out loss, if `training.show.keep_best`."""
SPLIT = "split.json"
"""The data set's fingerprint, its size, and which images are held out or left out."""
STATUS = "status.json"
SESSIONS = "sessions.jsonl"
"""One line a session: when, on which device, with which packages and which commit."""


def kept_path(run: Path, step: int) -> Path:
    """The checkpoint of a step that is a multiple of `training.show.keep_every`."""
    return run / f"step_{step:07d}.ckpt"


def average_path(run: Path, decay: float) -> Path:
    """The checkpoint of an average of `training.show.keep_ema`."""
    return run / f"ema_{decay}.ckpt"


def samples_path(run: Path, step: int) -> Path:
    """The grid of samples that a run shows at a step."""
    return run / "samples" / f"step_{step:07d}.png"
