"""How far each run is: status.json in its folder, and the table of `python status.py`."""

import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError

from dpi.atomic import atomic_write
from dpi.errors import UserError
from dpi.runs.files import CONFIG, STATUS
from dpi.runs.lock import is_locked


@dataclass
class Status:
    """What a run has come to."""

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
    checkpoint_bytes: int | None = None
    """The size of the checkpoint that the training ended with."""
    evaluated: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The evaluations that are done, with their settings and the step."""

    def write(self, run: Path) -> None:
        """Write it into the run's folder."""
        atomic_write(run / STATUS, json.dumps(asdict(self), indent=1))


def read_status(run: Path) -> Status:
    """The status in a run's folder; a new one if there is none, or a damaged one."""
    try:
        return TypeAdapter(Status).validate_json((run / STATUS).read_bytes(), strict=True)
    except FileNotFoundError:
        return Status()
    except ValidationError:
        return Status(failed=f"{STATUS} is damaged: the same command makes it again")


MIN_WIDTH = 16
"""Characters that a name and a remark have at least."""


class Line(NamedTuple):
    """A run in the table."""

    name: str
    state: str
    """done, running, failed or interrupted."""
    progress: str
    remark: str
    """The time left, the stage, or why it failed."""


def status(folder: Path) -> str:
    """A table of all runs in a folder, no wider than the terminal, and the totals.

    Raises:
        UserError: there are none.
    """
    lines = [_line(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))]
    lines += [
        _line(path.parent)
        for path in sorted(folder.glob(f"*/{STATUS}"))
        if not (path.parent / CONFIG).exists()  # failed before the first step
    ]
    if not lines:
        raise UserError(
            f"{folder} holds no runs: start some, such as `make demo` or `make table2 SCALE=mini`"
        )
    width = shutil.get_terminal_size(fallback=(1000, 24)).columns  # whole where there is none
    return f"{_table(lines, width)}\n\n{_totals(lines)}"


def _line(run: Path) -> Line:
    try:
        steps = yaml.load((run / CONFIG).read_text(), yaml.CSafeLoader)["training"]["steps"]
        current = read_status(run)
    except FileNotFoundError:
        steps, current = 0, read_status(run)
    except (ValueError, yaml.YAMLError, KeyError, TypeError):
        return Line(run.name, "damaged", "", f"{CONFIG} cannot be read")
    progress = f"{min(current.step, steps):,} of {steps:,}" if steps else ""
    if is_locked(run):
        left = current.stage == "training" and current.seconds_left is not None
        remark = f"{duration(current.seconds_left)} left" if left else current.stage or ""
        return Line(run.name, "running", progress, remark)
    if current.failed:
        return Line(run.name, "failed", progress, current.failed)
    if current.stage or current.step < steps:
        return Line(run.name, "interrupted", progress, current.stage or "")
    return Line(run.name, "done", progress, duration(current.seconds) if current.seconds else "")


def _table(lines: list[Line], width: int) -> str:
    names, states, steps, remarks = (max(map(len, column)) for column in zip(*lines, strict=True))
    free = width - states - steps - 6
    names = min(names, max(free - min(remarks, MIN_WIDTH), MIN_WIDTH))
    remarks = max(free - names, MIN_WIDTH)
    return "\n".join(
        f"{_shortened(line.name, names):{names}}  {line.state:{states}}  "
        f"{line.progress:>{steps}}  {line.remark[:remarks]}".rstrip()
        for line in lines
    )


def _shortened(name: str, width: int) -> str:
    # Its ends say most: data and framework in front, seed and settings behind.
    if len(name) <= width:
        return name
    front = (width - 1) // 2
    return f"{name[:front]}…{name[front - width + 1 :]}"


def _totals(lines: list[Line]) -> str:
    counts = Counter(line.state for line in lines).most_common()
    return ", ".join(f"{count} {state}" for state, count in counts)


def duration(seconds: float) -> str:
    """12 s, 3 min, 4 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
