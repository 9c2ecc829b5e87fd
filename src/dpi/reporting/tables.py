"""The tables: which results belong in which block, row and column, beside the paper's numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dpi.reporting.labels import LAMBDAS, order, said, title
from dpi.reporting.pairs import LEVEL, compare, holm
from dpi.reporting.paper import Spec, printed, specs

CELL = ["block", "row", "column"]


@dataclass(frozen=True)
class Table:
    """A table with its numbers."""

    spec: Spec
    numbers: pd.DataFrame
    """Results, a row a number, with block, row and column; and whether they are of the
    `reference`, the row that the others of its block are compared with: the one that the table
    names, or the first that has a number."""
    cells: pd.DataFrame
    """A row a cell, in the order of print: value and error (mean and standard error over seeds),
    seeds, and mark: "best" or "second" in its block. Columns without a number are left out."""


def tables(results: pd.DataFrame, paper: bool) -> list[Table]:
    """All tables of which there is at least one number of ours.

    Args:
        results: as from `frame.results`; of one data set at one scale, no run twice.
        paper: the paper's tables in place of the ranking.
    """
    own = results.scalar.isna() & (results.metric == "objective")
    errors = results[results.scalar.isna() & (results.metric == "mse")]
    # The mean error of the predicted noise is diffusion's objective, so it is the next best.
    errors = errors[~errors.run.isin(results.run[own])].assign(metric="objective")
    results = pd.concat([results, errors])
    rows = {"table5": _by_lambda, "ablations": _by_variant}
    left_out = {"ranking"} if paper else {name for name, of in specs().items() if of.paper}
    chosen = {name: of for name, of in specs().items() if name not in left_out}
    numbers = {name: rows.get(name, _by_model)(select(results, of)) for name, of in chosen.items()}
    return [fill(chosen[name], of) for name, of in numbers.items() if len(of)]


def _by_model(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers.assign(row=numbers.model)


def _by_lambda(numbers: pd.DataFrame) -> pd.DataFrame:
    own = numbers[numbers.model.isin(LAMBDAS)]
    blocks = [title([arch], of) for arch, of in zip(own.arch, own.protocol, strict=True)]
    return own.assign(block=blocks, row=own.model.map(LAMBDAS))


def _by_variant(numbers: pd.DataFrame) -> pd.DataFrame:
    """Each variant in a block with its default: the one that has the most of its settings."""
    texts = {config: [*of.values()] for config, of in said(numbers.config.unique()).items()}
    parts = [numbers[:0].assign(row="")]
    for (*kind, images), own in numbers.groupby(["arch", "framework", "cond", "on"], sort=False):
        for config in own.config.unique():
            fewer = [of for of in own.config.unique() if set(texts[of]) < set(texts[config])]
            default = max(fewer, key=lambda of: len(texts[of]), default=None)
            if default is not None:
                added = "; ".join(text for text in texts[config] if text not in texts[default])
                rows = own.config.map({default: "default", config: added})
                block = title(kind, "; ".join(filter(None, [*texts[default], images])))
                parts.append(own.assign(block=block, row=rows)[rows.notna()])
    return pd.concat(parts).drop_duplicates(["block", "row", "run"])


def select(results: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """The results that belong in the table's columns, with the `column` and in its unit."""
    parts = [results[:0].assign(column="")]
    for key, column in spec.columns.items():
        scalar = results.scalar.fillna(-1) == (-1 if column.scalar is None else column.scalar)
        framework = results.framework == (column.framework or results.framework)
        own = results[scalar & framework & (results.metric == column.metric)]
        parts.append(own.assign(column=key, value=own.value * column.unit))
    return pd.concat(parts).sort_index(kind="stable")


def fill(spec: Spec, numbers: pd.DataFrame) -> Table:
    """The table of results that have a block, row and column; the blocks in their order."""
    blocks = numbers[["block", *spec.keys]].drop_duplicates()
    on = {"on": spec.keys} if spec.keys else {"how": "cross"}
    paper = blocks.merge(printed(spec.name), **on)[[*CELL, "value"]]
    means = {"value": ("value", "mean"), "error": ("value", "sem"), "seeds": ("seed", "count")}
    found = pd.concat([numbers.groupby(CELL).agg(**means).reset_index(), paper])
    directions = {key: column.direction for key, column in spec.columns.items()}
    # Each row has a cell for each column, in their order.
    rows = found[["block", "row"]].drop_duplicates()
    cells = rows.merge(pd.DataFrame({"column": [*directions]}), "cross").merge(found, "left")
    groups = (cells.value * cells.column.map(directions)).groupby([cells.block, cells.column])
    ranks = groups.rank("dense")
    # As in the paper: of two rows only the best is marked, of one none.
    ranks = ranks.where(ranks < groups.transform("count").clip(upper=3))
    cells["mark"] = ranks.map({1: "best", 2: "second"}).fillna("")
    value = cells.groupby(["block", "row"]).value.transform("first")
    cells["at"] = cells.block.map({block: i for i, block in enumerate(blocks.block)})
    cells["place"] = value if spec.best_first else order(cells.row)
    cells = cells.sort_values(["at", "place"], kind="stable").drop(columns=["at", "place"])
    first = cells.dropna(subset="value").drop_duplicates("block").set_index("block").row
    reference = spec.reference or numbers.block.map(first)
    numbers = numbers.assign(reference=numbers.row == reference)
    if "change" in spec.columns:
        cells = _with_change(cells, numbers[numbers.column == "objective"])
    count = cells.groupby("column").value.count()
    empty = [key for key in spec.columns if not count[key] + count.get(f"paper {key}", 0)]
    return Table(spec, numbers, cells[~cells.column.isin(empty)])


def _with_change(cells: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The objective's change against the reference of each block, with its confidence interval."""
    found = compare(own[~own.reference], own[own.reference]).assign(column="change")
    found = found.rename(columns={"percent": "value", "half": "error"}).set_index(CELL)
    cells = cells.set_index(CELL)
    cells.update(found[["value", "error", "seeds"]])
    return cells.reset_index()


def differences(tables: Iterable[Table]) -> pd.DataFrame:
    """In each table that says so, its reference against every other row: DPI in Tables 2 and 3,
    learned against linear lambda in Table 5, the best in the ranking.

    Returns:
        As from `compare`, with the `table` and the column's `metric`; p corrected within each
        table; and the `outcome`: better, worse, not significant, or one seed.
    """
    parts = [_differences(table) for table in tables if table.spec.compared]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["table"])


def _differences(table: Table) -> pd.DataFrame:
    columns = {key: column for key, column in table.spec.columns.items() if column.better}
    own = table.numbers[table.numbers.column.isin(columns)]
    found = compare(own[own.reference], own[~own.reference])
    # In the order of the table.
    order = table.cells[CELL].rename(columns={"row": "against"})
    found = order.merge(found).assign(table=table.spec.title.partition(":")[0])
    found["metric"] = found.column.map(lambda key: columns[key].title)
    found["p"] = holm(found.p)
    signed = found.difference * found.column.map(lambda key: columns[key].direction).astype(float)
    significant = np.where(signed < 0, "better", "worse")
    undecided = np.where(found.seeds > 1, "not significant", "one seed")
    found["outcome"] = np.where(found.p < LEVEL, significant, undecided)
    return found
