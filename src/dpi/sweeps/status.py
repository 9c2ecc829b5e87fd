"""How the runs of the sweeps stand, as tables of text: python status.py"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dpi.errors import UserError
from dpi.state import State
from dpi.sweeps.plan import Planned, read_plan


def status(folder: Path) -> str:
    """All sweeps of a folder of plans, a table each.

    Raises:
        UserError: no sweep was started from here.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UserError(
            f"{folder} knows of no sweep: start one, such as `make table2 SCALE=mini`, or "
            "`python train.py -m cond=dpi,tmap`"
        )
    return "\n\n".join(f"{path.stem}\n\n{table(read_plan(path))}" for path in paths)


def table(plan: Sequence[Planned]) -> str:
    """A line a run: how it stands, its step, the time left, why it failed; and the totals."""
    lines = []
    counts: Counter[str] = Counter()
    for planned in plan:
        standing, state = planned.standing()
        counts[standing] += 1
        progress = f"{min(state.step, planned.steps):,} of {planned.steps:,}"
        lines.append((Path(planned.run).name, standing, progress, _rest(standing, state)))
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    text = [
        f"{name:{widths[0]}}  {standing:{widths[1]}}  {progress:>{widths[2]}}  {rest}".rstrip()
        for name, standing, progress, rest in lines
    ]
    totals = ", ".join(f"{count} {standing}" for standing, count in counts.most_common())
    return "\n".join([*text, "", totals])


def _rest(standing: str, state: State) -> str:
    if standing == "failed":
        return state.failed or ""
    if standing == "running" and state.doing == "training" and state.seconds_left is not None:
        return f"{duration(state.seconds_left)} left"
    return state.doing or "" if standing in ("running", "interrupted") else ""


def duration(seconds: float) -> str:
    """12 s, 3 min, 4 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
