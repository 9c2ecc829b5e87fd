"""The files of a run's folder. It may come from anywhere, so they are read with care."""

import hashlib
import json
import math
import os
import stat
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

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


def is_shared(folder: Path) -> bool:
    """Whether a folder holds a model that `dpi.hub` saved, and no run."""
    return (folder / "config.json").is_file() and not (folder / CONFIG).exists()


def kept_path(run: Path, step: int) -> Path:
    """The checkpoint of a step that is a multiple of `training.show.keep_every`."""
    return run / f"step_{step:07d}.ckpt"


def average_path(run: Path, decay: float) -> Path:
    """The checkpoint of an average of `training.show.keep_ema`."""
    return run / f"ema_{decay}.ckpt"


def checkpoint_digest(checkpoint: Path) -> str | None:
    """Eight hexadecimal digits that identify a checkpoint's tensors; None if there is none, and
    nothing if it is damaged.

    The file is a zip archive, whose directory has checksums: only that is read. The checksum of the
    pickled object is left out: it differs between a training and a resumed one of equal tensors.
    """
    if not checkpoint.is_file():
        return None
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            tensors = [file for file in archive.infolist() if "/data/" in file.filename]
    except (zipfile.BadZipFile, NotImplementedError):
        return ""
    lines = [f"{file.filename} {file.file_size} {file.CRC}" for file in tensors]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def samples_path(run: Path, step: int) -> Path:
    """The grid of samples that a run shows at a step."""
    return run / "samples" / f"step_{step:07d}.png"


def cache_dir() -> Path:
    """The folder of what can be computed again: images, features, parts of evaluations."""
    return Path(os.environ.get("DPI_CACHE") or "data/cache").expanduser()


MOST = 2**26
"""Bytes of a file that is read as a whole; MOST_YAML of one of YAML, which is slow."""
MOST_YAML = 2**20
DEEPEST = 50
"""Nested lists and dictionaries in YAML."""


def read_small(path: Path, most: int = MOST) -> bytes:
    """The content of a small file.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is a pipe or another odd file, or has more than `most` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no ordinary file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_json(path: Path) -> Any:
    """The values in a small JSON file, whose numbers are finite; raises what `read_small` does."""
    try:
        return json.loads(read_small(path), parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a small YAML file, without aliases, which could multiply; raises what
    `read_small` does."""
    text = read_small(path, MOST_YAML)
    depth = 0
    try:
        for event in yaml.parse(text, yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
                raise ValueError("it is nested too deep, or has aliases")
        found = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(found, dict):
        raise ValueError("it holds no settings")
    return found


def odd_file(run: Path) -> Path | None:
    """A link, a pipe or another odd file in a run's folder, through which one would write or wait
    elsewhere; None if there is none. Links within `wandb` are W&B's."""
    for folder, _, _ in os.walk(run):
        for entry in os.scandir(folder):
            ordinary = entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
            if not ordinary and Path(entry.path).relative_to(run).parts[:-1][:1] != ("wandb",):
                return Path(entry.path)
    return None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number


def initial_path(source: str) -> Path:
    """The file that `training.init_from` names: of a run's folder, its last checkpoint."""
    path = Path(source)
    return path / CHECKPOINT if path.is_dir() else path


def initial_digits(source: str) -> str | None:
    """Twelve hexadecimal digits that identify the content of that file; None if there is none."""
    path = initial_path(source)
    if not path.is_file():
        return None
    state = path.stat()
    return _digits(path, state.st_mtime_ns, state.st_size)


@cache
def _digits(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
