"""What the paper prints, to stand beside what is measured here."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def printed(table: str) -> dict[tuple[str, ...], dict[str, float]]:
    """The numbers of "table1" ... "table5".

    Returns:
        For each row, named by framework, network and conditioning as far as they tell it from
        others, {column: number}.
    """
    tables = yaml.load(files(__package__).joinpath("paper.yaml").read_text(), yaml.CSafeLoader)
    rows = dict(tables[table])
    columns = rows.pop("columns", None)
    return {key: _named(columns, row) for key, row in _flat(rows).items()}


def _flat(node: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    found = {}
    for key, child in node.items():
        if isinstance(child, dict) and any(isinstance(v, dict | list) for v in child.values()):
            found |= {(key, *below): row for below, row in _flat(child).items()}
        else:
            found[(key,)] = child
    return found


def _named(columns: list[str] | None, row: Any) -> dict[str, float]:
    return row if columns is None else dict(zip(columns, row, strict=True))
