"""What a run is, written into its folder, so that no other run is taken for it."""

import hashlib
import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from glob import glob, has_magic
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter

from dpi.atomic import atomic_write
from dpi.errors import UserError
from dpi.runs.check import SECTIONS, TRAIN, check
from dpi.runs.files import CHECKPOINT, CONFIG, SESSIONS, SPLIT, odd_file, read_small, read_yaml
from dpi.runs.identity import identity
from dpi.runs.images import Images

if TYPE_CHECKING:
    import torch

PACKAGES = ("dpi", "torch", "lightning", "hydra-core", "numpy", "torchmetrics", "torch-fidelity")
"""Whose versions are recorded."""

MODEL = ("framework", "arch", "cond", "image_size", "image_channels")
"""What describes a model."""

KEYS = (*MODEL, "data.source", "training.steps")
"""What the configuration of a run has at least."""

VALUES = dict.fromkeys((*SECTIONS, "training", "training.show", "effort", "data.source"), dict) | {
    key: kind for key, kind in TRAIN.items() if key != "run"
}
"""The types of its sections and values, where it has them."""


def check_identity(cfg: DictConfig, run: Path, images: Images) -> None:
    """Raise UserError if the folder holds a checkpoint of a run with other settings or images, or
    checkpoints that were kept beside one that is gone.

    Args:
        cfg: the composed configuration.
        run: the folder.
        images: those that `cfg` names.
    """
    refuse_odd_files(run)
    if not (run / CHECKPOINT).exists():
        if kept := sorted(run.glob("*.ckpt")):
            raise UserError(
                f"{run} has no {CHECKPOINT}, but {kept[-1].name} of an earlier training: copy it "
                f"to {CHECKPOINT} to go on from there, or move it away"
            )
        return
    then, now = identity(read_config(run)), identity(cfg)
    for key in sorted(then.keys() | now.keys(), key=lambda key: (key.count("."), key)):
        was, given = then.get(key), now.get(key)
        if was != given:
            if key == "training.lr_decay_steps" and cfg.training.lr_schedule == "cosine":
                raise UserError(
                    f"{run} cannot be extended: its learning rate falls to 0 at step {was} "
                    f"(lr_schedule=cosine); give training.steps={was}, or train anew with tag=NAME"
                )
            raise UserError(
                f"{run} holds a run with other settings ({key} was {was}, now {given}): "
                "name the new one with tag=NAME, or delete that folder"
            )
    before, now = read_split(run), RecordedSplit.of(images)
    if images.source.fingerprint != before.fingerprint:
        raise UserError(
            f"{run} was trained on other images: point data.path at the same ones, or name the "
            "new run with tag=NAME"
        )
    for key, setting in (("held_out", "data.held_out"), ("left_out", "data.duplicates")):
        was, given = getattr(before, key), getattr(now, key)
        if was != given:
            raise UserError(
                f"{run} has {key.replace('_', ' ')} other images ({len(was)}, now {len(given)}): "
                f"give the same {setting}=, or name the new run with tag=NAME"
            )


def read_config(folder: Path) -> DictConfig:
    """The configuration that a run was started with.

    Raises:
        UserError: there is none; it is damaged, not of a run, or has values that train.py refuses;
            or the folder holds links or pipes.
    """
    path = folder / CONFIG
    if not str(folder).isprintable():
        raise UserError(f"{folder} has characters in its name that a terminal obeys: rename it")
    try:
        values = read_yaml(path)
        refuse_interpolations(values, str(path))
        cfg = OmegaConf.create(values)
    except (FileNotFoundError, NotADirectoryError):
        others = [of for of in (Path("outputs", folder), folder.parent) if (of / CONFIG).is_file()]
        hint = f"; did you mean run={others[0]}?" if others else ""
        raise UserError(f"{folder} is not a run: it holds no {CONFIG}{hint}") from None
    except UserError:
        raise
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    check(cfg, VALUES, f"{path}: ", others=[*cfg])
    missing = [key for key in KEYS if OmegaConf.select(cfg, key) is None]
    if missing:
        raise UserError(f"{path} is not the configuration of a run: it lacks {', '.join(missing)}")
    refuse_odd_files(folder)
    return cfg


def refuse_odd_files(run: Path) -> None:
    """Raise UserError if a run's folder holds links or pipes, see `odd_file`."""
    if odd := odd_file(run):
        raise UserError(f"{odd} is a link or a pipe, which no run has: delete it")


def refuse_interpolations(values: dict[str, Any], where: str) -> None:
    """Raise UserError if a value is an interpolation.

    It could read what it likes, such as the environment, and be something else each time.
    """
    if "${" in json.dumps(values, default=str):
        raise UserError(f"{where} has ${{...}} in a value: train.py writes values alone")


def find_runs(pattern: str | None) -> list[Path]:
    """The folders of runs that a path, or a pattern such as outputs/faces-*, names.

    Raises:
        UserError: there are none.
    """
    if not pattern:
        raise UserError("run= is missing: give a run's folder, or a pattern such as 'outputs/*'")
    if Path(pattern).exists() or not has_magic(pattern):
        read_config(Path(pattern))
        return [Path(pattern)]
    found = [Path(path) for path in sorted(glob(pattern)) if (Path(path) / CONFIG).exists()]
    if not found:
        raise UserError(f"run={pattern}: no run matches")
    return found


@dataclass(frozen=True)
class RecordedSplit:
    """The data set of a run, and how it was split."""

    fingerprint: str
    """Of the data set."""
    images: int
    """In it."""
    held_out: list[int]
    """Indices."""
    left_out: list[int]
    """Indices of those in neither part."""

    def __post_init__(self) -> None:
        indices = [*self.held_out, *self.left_out]
        if len({*indices}) < len(indices) or not all(0 <= i < self.images for i in indices):
            raise ValueError("its indices repeat, or are not of images")

    @classmethod
    def of(cls, images: Images) -> "RecordedSplit":
        """What is recorded of images."""
        held_out, left_out = images.split.held_out.tolist(), images.split.left_out.tolist()
        return cls(images.source.fingerprint, len(images.source), held_out, left_out)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of the hash of the indices."""
        indices = json.dumps([self.held_out, self.left_out])
        return hashlib.sha256(indices.encode()).hexdigest()[:8]


def read_split(run: Path) -> RecordedSplit:
    """The data set of a run, and how it was split.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    path = run / SPLIT
    try:
        return TypeAdapter(RecordedSplit).validate_json(read_small(path), strict=True)
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read ({line}), and it says which images were held out: put the "
            "file back from a copy, or train anew with tag=NAME"
        ) from None


def record(cfg: DictConfig, run: Path, images: Images) -> None:
    """Write the configuration, every interpolation resolved, and how the data set was split.

    Args:
        cfg: the composed configuration.
        run: the folder, created if need be.
        images: those that `cfg` names.
    """
    atomic_write(run / SPLIT, json.dumps(asdict(RecordedSplit.of(images))))
    # A run with half a configuration could not be resumed.
    atomic_write(run / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))


def device_name(device: "torch.device") -> str:
    """The GPU's model, or the CPU's number of threads."""
    import torch  # takes seconds

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def record_session(run: Path, first_step: int, device: "torch.device") -> None:
    """Append a line on this session: command, time, device, package versions and commit."""
    session = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "first_step": first_step,
        "device": device_name(device),
        "host": platform.node(),
        "python": platform.python_version(),
        "packages": {each.name: each.version for each in distributions() if each.name in PACKAGES},
        "commit": _commit(),
    }
    with (run / SESSIONS).open("a") as file:
        file.write(json.dumps(session) + "\n")


def _commit() -> str | None:
    """This code's commit, with -dirty if files were changed since; None outside a checkout."""
    root = Path(__file__).parents[3]  # not a repository in which dpi is installed
    where = ["git", f"--git-dir={root / '.git'}", f"--work-tree={root}"]
    ask = [*where, "describe", "--always", "--exclude=*", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
