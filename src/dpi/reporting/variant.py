"""Which of a run's settings tell it apart: not those that all runs of a report share."""

from collections.abc import Iterable
from dataclasses import replace

from dpi.errors import UserError
from dpi.reporting.collect import Run

COST = "cost"
"""The variant of runs that are measured and not trained: configs/sweep/table4.yaml."""
LINEAR = "schedule_linear"
"""The variant of runs with lambda(s) = s."""


def share(runs: Iterable[Run], variant: str | None) -> list[Run]:
    """The runs that have these settings, which from now on are no part of their variants.

    Args:
        variant: as in the runs' names, such as batch_size_64; None for whatever all trained runs
            have in common, which is nothing where one has but the defaults.

    Raises:
        UserError: no run has these settings.
    """
    runs = list(runs)
    trained = [set(run.settings) for run in runs if COST not in run.settings]
    shared = set.intersection(*trained) if trained else set()
    if variant is not None:
        shared = set(filter(None, variant.split("-")))
        if not any(shared <= settings for settings in trained):
            found = sorted({run.names["variant"] or "''" for run in runs})
            raise UserError(
                f"there are no runs of names.variant={variant}: choose from {', '.join(found)}"
            )
    shared = frozenset(shared - {COST, LINEAR})
    return [
        replace(run, shared=shared)
        for run in runs
        if shared <= set(run.settings) or COST in run.settings
    ]
