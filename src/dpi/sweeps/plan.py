"""Sweeps: the runs that a table is made of, and how each of them stands."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dpi.errors import UserError
from dpi.identity import identity
from dpi.state import State, is_claimed, read_state
from dpi.whole import write_whole

Job = list[str]
"""The words that make one run, as one would type them."""


def jobs(
    rows: Iterable[str], words: Sequence[str], parse: Callable[[Sequence[str]], list[Override]]
) -> list[Job]:
    """All runs of a sweep: within a row every combination of its choices.

    Args:
        rows: e.g. "arch=drunet cond=tmap,dpi"; none for what the words alone make.
        words: of the command line. What a row does not mention is combined with it, what it
            mentions picks from it: arch=adm leaves the rows', or a row's, runs of ADM.
        parse: Hydra's parser of overrides.

    Raises:
        UserError: nothing is left.
    """
    given = parse(words)
    allowed = {o.get_key_element(): set(_combinations([o])) for o in given}
    found, mentioned = [], set()
    for row in rows or [""]:
        own = parse(row.split())
        keys = {o.get_key_element() for o in own}
        mentioned |= keys
        others = [o for o in given if o.get_key_element() not in keys]
        for job in _combinations([*own, *others]):
            picked = [(word,) in allowed.get(word.partition("=")[0], {(word,)}) for word in job]
            if all(picked):
                found.append(list(job))
    if not found:
        picks = [o.input_line for o in given if o.get_key_element() in mentioned]
        raise UserError(f"no run of this sweep has {' '.join(picks)}: see configs/sweep")
    return found


def _combinations(overrides: list[Override]) -> list[tuple[str, ...]]:
    return [tuple(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]


@dataclass(frozen=True)
class Planned:
    """One run of a sweep."""

    run: str
    """Its folder."""
    words: Job
    steps: int
    """Optimizer steps that it is to take."""
    evaluated: dict[str, dict[str, Any]]
    """The evaluations that it is to have, as `wanted` gives them."""

    def standing(self) -> tuple[str, State]:
        """One of done, running, failed, interrupted, waiting; and its state."""
        folder = Path(self.run)
        state = read_state(folder)
        if is_claimed(folder):
            return "running", state
        if state.failed:
            return "failed", state
        if state.step >= self.steps and not state.missing(self.evaluated):
            return "done", state
        return ("interrupted" if state.step or state.doing else "waiting"), state


def plan(jobs: Iterable[Job], compose: Callable[[Job], DictConfig]) -> list[Planned]:
    """The runs of these jobs; a run that several jobs name is there once.

    Raises:
        UserError: two different jobs would use one folder.
    """
    found: dict[str, tuple[Planned, Any]] = {}
    for job in jobs:
        cfg = compose(job)
        planned = Planned(cfg.run, job, cfg.training.steps, wanted(cfg))
        what = (identity(cfg), planned.steps, planned.evaluated)
        if planned.run not in found:
            found[planned.run] = planned, what
        elif found[planned.run][1] != what:
            raise UserError(
                f"{' '.join(job)} would go into {planned.run}, as "
                f"{' '.join(found[planned.run][0].words)} does: give them names with tag="
            )
    return [planned for planned, _ in found.values()]


def wanted(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """The evaluations that follow the training: name -> settings, and the step they belong to."""
    settings = OmegaConf.to_container(cfg.evaluation, resolve=True)
    given = {key: value for key, value in settings.items() if value is not None}
    return {name: {"step": cfg.training.steps, **given} for name in cfg.evaluate}


def write_plan(path: Path, plan: Iterable[Planned]) -> None:
    """Write down which runs a sweep is made of, beside those that it had before."""
    kept = {planned.run: planned for planned in [*read_plan(path), *plan]}
    write_whole(path, json.dumps([vars(planned) for planned in kept.values()], indent=1))


def read_plan(path: Path) -> list[Planned]:
    """The runs of a sweep, in order; none where it was never started."""
    if not path.exists():
        return []
    return [Planned(**planned) for planned in json.loads(path.read_text())]
