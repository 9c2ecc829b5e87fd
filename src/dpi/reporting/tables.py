"""Which results belong in which table, in which block and row."""

from dataclasses import replace

import pandas as pd

from dpi.reporting.labels import LAMBDAS, title
from dpi.reporting.pairs import compare
from dpi.reporting.paper import specs
from dpi.reporting.table import CELL, Table, fill, select

UNCHANGED = ("ncsnv2", "tmap", "sigmamap")
"""Conditionings at the input or the output, which leave a network as it is."""


def tables(results: pd.DataFrame) -> list[Table]:
    """All tables of which there is at least one number of ours.

    Args:
        results: as from `frame`; of one data set at one scale, no run twice.
    """
    spec = specs()
    shown = {column.scalar for of in spec.values() for column in of.columns.values()} - {None}
    results = results[results.scalar.isna() | results.scalar.isin(shown)]
    objectives = _objectives(results)
    numbers = {
        "table1": _by_network(select(results, spec["table1"])),
        **{name: _by_model(select(results, spec[name])) for name in ("table2", "table3", "table4")},
        "table5": _by_lambda(select(objectives, spec["table5"])),
        "ablations": _by_variant(select(objectives, spec["ablations"])),
    }
    made = [fill(spec[name], of) for name, of in numbers.items() if len(of)]
    return [_with_change(table) if "change" in table.spec.columns else table for table in made]


def _objectives(results: pd.DataFrame) -> pd.DataFrame:
    """Diffusion's objective is the mean error of the predicted noise, so either does."""
    own = results[results.metric.isin(["objective", "mse"]) & results.scalar.isna()]
    own = own.sort_values("metric", ascending=False).drop_duplicates("run")
    return own.assign(metric="objective").sort_index()


def _by_network(numbers: pd.DataFrame) -> pd.DataFrame:
    """Of each network one run, one whose parameters were counted if there is any."""
    own = numbers[numbers.cond.isin(UNCHANGED)].assign(block="", row=numbers.network)
    counted = own.sort_values("column", key=lambda column: column != "parameters", kind="stable")
    return own[own.run == own.row.map(counted.groupby("row").run.first())]


def _by_model(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers.assign(row=numbers.model)


def _by_lambda(numbers: pd.DataFrame) -> pd.DataFrame:
    own = numbers[numbers.model.isin(LAMBDAS)]
    blocks = [title([arch], of) for arch, of in zip(own.arch, own.protocol, strict=True)]
    return own.assign(block=blocks, row=own.model.map(LAMBDAS))


def _by_variant(numbers: pd.DataFrame) -> pd.DataFrame:
    """Each variant in a block with its default: the one that has the most of its settings."""
    parts = [numbers[:0].assign(row="")]
    for kind, own in numbers.groupby(["arch", "framework", "cond"], sort=False):
        settings = {variant: set(filter(None, variant.split("; "))) for variant in own.variant}
        for variant, of in settings.items():
            fewer = [other for other in settings if settings[other] < of]
            default = max(fewer, key=lambda other: len(settings[other]), default=None)
            if default is not None:
                added = "; ".join(s for s in variant.split("; ") if s not in settings[default])
                rows = own.variant.map({default: "default", variant: added})
                parts.append(own.assign(block=title(kind, default), row=rows)[rows.notna()])
    return pd.concat(parts).drop_duplicates(["block", "row", "run"])


def _with_change(table: Table) -> Table:
    """The objective's change against the default, with its confidence interval."""
    default = table.numbers.row == "default"
    found = compare(table.numbers[~default], table.numbers[default]).assign(column="change")
    found = found.rename(columns={"percent": "value", "half": "error"}).set_index(CELL)
    cells = table.cells.set_index(CELL)
    cells.update(found[["value", "error", "seeds"]])
    return replace(table, cells=cells.reset_index())
