"""How far each run is: status.json in its folder, and the table of `python status.py`."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter
from tqdm import tqdm

from dpi.atomic import atomic_write
from dpi.errors import UserError, printable
from dpi.runs.files import (
    CHECKPOINT,
    CONFIG,
    STATUS,
    average_path,
    checkpoint_digest,
    read_small,
    read_yaml,
    samples_path,
)
from dpi.runs.lock import is_locked
from dpi.runs.rows import is_kept


@dataclass
class Status:
    """What a run has come to."""

    __pydantic_config__: ClassVar = ConfigDict(allow_inf_nan=False)

    step: int = 0
    """Optimizer steps taken."""
    seconds: float = 0.0
    """That the training took, over all sessions."""
    seconds_left: float | None = None
    """Of the training, estimated."""
    stage: str | None = None
    """training or evaluation; None once all is done."""
    failed: str | None = None
    """Why, in one line."""
    checkpoint: str | None = None
    """The `checkpoint_digest` that the training ended with, nothing while it goes on; None
    as long as an earlier version wrote this."""
    evaluated: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The evaluations that are done, with their settings and the step."""

    def is_of(self, run: Path) -> bool:
        """Whether the run's last checkpoint is still the one that its training ended with."""
        return self.checkpoint in (None, checkpoint_digest(run / CHECKPOINT))

    def write(self, run: Path) -> None:
        """Write it into the run's folder."""
        atomic_write(run / STATUS, json.dumps(asdict(self), indent=1))


def read_status(run: Path) -> Status:
    """The status in a run's folder; a new one if there is none, or a damaged one."""
    try:
        return TypeAdapter(Status).validate_json(read_small(run / STATUS), strict=True)
    except FileNotFoundError:
        return Status()
    except ValueError:
        return Status(failed=f"{STATUS} is damaged: the same command makes it again")


def is_trained(cfg: DictConfig) -> bool:
    """Whether a run has taken its steps, ended with its samples, and kept its checkpoints."""
    run = Path(cfg.run)
    status = read_status(run)
    averages = (average_path(run, decay) for decay in cfg.training.show.keep_ema)
    return (
        status.step >= cfg.training.steps
        and all(path.exists() for path in (samples_path(run, status.step), *averages))
        and (run / CHECKPOINT).exists()
        and status.is_of(run)
    )


def missing_evaluations(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """The evaluations that a run lacks with these settings, at the step that it trains to."""
    run = Path(cfg.run)
    status = read_status(run)
    evaluated = status.evaluated if status.is_of(run) else {}
    wanted = {
        name: {"training_steps": cfg.training.steps, **settings}
        for name, settings in OmegaConf.to_container(cfg.eval, resolve=True).items()
    }
    return {
        name: how
        for name, how in wanted.items()
        if _results(evaluated.get(name, {})) != _results(how)
        or not is_kept(run / "evaluation", name)
    }


def _results(settings: dict[str, Any]) -> dict[str, Any]:
    """Of the settings of an evaluation those that change its results."""
    return {key: value for key, value in settings.items() if key not in ("cache", "batch_size")}


def status(folder: Path) -> str:
    """A table of all runs in a folder: state, steps, name, and the time left, the stage or why it
    failed; and the totals.

    Raises:
        UserError: there are none.
    """
    files = [*folder.glob(f"*/{CONFIG}"), *folder.glob(f"*/{STATUS}")]  # no CONFIG: failed early
    lines = [(*_line(run), run.name) for run in sorted({path.parent for path in files})]
    if (folder / CONFIG).is_file():
        raise UserError(f"{folder} is a run: give its parent, python status.py {folder.parent}")
    if not lines:
        raise UserError(
            f"{folder} holds no runs: start some, such as `make demo` or `make table2 SCALE=mini`"
        )
    states, steps = (max(map(len, column)) for column in list(zip(*lines, strict=True))[:2])
    table = [
        f"{state:{states}}  {progress:>{steps}}  {printable(name)}  {printable(remark)}".rstrip()
        for state, progress, remark, name in lines
    ]
    counts = Counter(state for state, *_ in lines).most_common()
    return "\n".join([*table, "", ", ".join(f"{count} {state}" for state, count in counts)])


def _line(run: Path) -> tuple[str, str, str]:
    """Of a run: done, running, failed, interrupted or damaged; its steps; a remark."""
    steps, current = 0, read_status(run)
    try:
        steps = int(read_yaml(run / CONFIG)["training"]["steps"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "damaged", "", f"{CONFIG} cannot be read"
    progress = f"{min(current.step, steps):,} of {steps:,}" if steps else ""
    if is_locked(run):
        left = current.stage == "training" and current.seconds_left is not None
        remark = (
            f"{tqdm.format_interval(current.seconds_left)} left" if left else current.stage or ""
        )
        return "running", progress, remark
    if current.failed:
        return "failed", progress, current.failed
    if current.stage or current.step < steps:
        return "interrupted", progress, current.stage or ""
    return "done", progress, tqdm.format_interval(current.seconds) if current.seconds else ""
