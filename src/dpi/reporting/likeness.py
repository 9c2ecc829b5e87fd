"""With what the numbers of a table were measured, and where that differs between them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

LONG = ("reference_content", "extractor_weights")
"""Settings that are compared but, where all agree, not shown."""

NAMED = 3
"""How many runs a warning names."""


class Note(NamedTuple):
    """A line under a table."""

    text: str
    warning: bool = False
    """Whether it says that rows cannot quite be compared."""


class Measured(NamedTuple):
    """One number's circumstances."""

    group: str
    """Numbers of one group are to be measured alike."""
    run: str
    settings: dict[str, Any]


def likeness(numbers: Iterable[Measured]) -> list[Note]:
    """A warning for each setting that differs within a group, and a note of the others."""
    groups: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for group, run, settings in numbers:
        for key, value in settings.items():
            groups[group][key][run] = _said(value)
    alike: dict[str, dict[str, None]] = {}
    warnings: dict[str, None] = {}
    for settings in groups.values():
        for key, by_run in settings.items():
            if len(set(by_run.values())) > 1:
                warnings[_difference(key, by_run)] = None
            elif key not in LONG:
                alike.setdefault(key, {}).update(dict.fromkeys(by_run.values()))
    notes = [Note(text, warning=True) for text in warnings]
    if alike:
        said = ", ".join(f"{_plain(key)} {' / '.join(values)}" for key, values in alike.items())
        notes.append(Note(f"Measured with: {said}."))
    return notes


def _difference(key: str, by_run: dict[str, str]) -> str:
    usual = Counter(by_run.values()).most_common(1)[0][0]
    others: dict[str, list[str]] = defaultdict(list)
    for run, value in by_run.items():
        if value != usual:
            others[value].append(run)
    said = "; ".join(f"{value} for {_some(runs)}" for value, runs in others.items())
    return f"These rows differ in {_plain(key)}: {usual} for most, {said}."


def _some(runs: list[str]) -> str:
    more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
    return ", ".join(runs[:NAMED]) + more


def _said(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(key: str) -> str:
    return key.replace("_", " ")
