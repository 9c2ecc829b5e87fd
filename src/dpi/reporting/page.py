"""One self-contained HTML page: verdicts, tables, figures, and every run's configuration."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dpi.reporting.collect import Row, Run
from dpi.reporting.entries import entries
from dpi.reporting.statistics import Ordering
from dpi.reporting.table import Table
from dpi.reporting.verdict import verdicts

FIGURES = {
    "figure2": "What DPI draws, for each network and framework, from the same noise.",
    "figure3": "The learned λ, a line a seed; dashed, λ(s) = s.",
    "figure4": "The noise-scaled error of the predicted noise over the step, on held-out pictures: "
    "mean over seeds, and around it one standard error.",
    "figure5": "What each conditioning draws from the same noise, diffusion.",
}

TABLES = ("table1", "table2", "table3", "table4", "table5", "ablations")


@dataclass(frozen=True)
class Contents:
    """What the page shows."""

    runs: list[Run]
    tables: list[Table]
    figures: Mapping[str, bytes]
    """PNGs by name."""
    left_out: list[str]
    """Lines on what was found and is not shown."""


def page(contents: Contents) -> str:
    """The page as HTML, with all that it shows inside."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    source = files(__package__)
    template = environment.from_string(source.joinpath("page.html.j2").read_text("utf-8"))
    runs = contents.runs
    names = runs[0].names
    scale = "" if names["scale"] == "paper" else f" SCALE={names['scale']}"
    there = {table.name for table in contents.tables}
    return template.render(
        style=Markup(source.joinpath("page.css").read_text("utf-8")),
        data=names["data"],
        scale=names["scale"],
        shared=sorted(runs[0].shared),
        seeds=sorted({run.seed for run in runs}),
        runs=runs,
        left_out=contents.left_out,
        tables=[_view(table) for table in contents.tables],
        figures={
            name: (caption, b64encode(contents.figures[name]).decode())
            for name, caption in FIGURES.items()
            if name in contents.figures
        },
        missing_tables=[f"make {name}{scale}" for name in TABLES if name not in there],
        missing_figures=[_title(name) for name in FIGURES if name not in contents.figures],
        make_figures=f"make figures{scale}",
        make_scale=scale,
        titled=_title,
        summary=_summary,
    )


def _view(table: Table) -> dict[str, Any]:
    of = {verdict.block.title: verdict for verdict in verdicts(table)}
    return {
        "table": table,
        "spans": [2 if table.in_paper(column) else 1 for column in table.columns],
        "verdicts": of,
        "blocks": [
            (block, list(zip(block.lines.values(), entries(table, block).values(), strict=True)))
            for block in table.blocks
        ],
        "standing": _standing,
    }


def _standing(ordering: Ordering) -> str:
    """One word for how an ordering stands, which is also its class in the style sheet."""
    if ordering.same:
        return "same"
    return "differs" if ordering.differs else "unsure"


def _summary(run: Run) -> list[tuple[str, str, str]]:
    """A run's rows: metric, at how many scalars, and the value over all of them."""
    metrics: dict[str, list[int | None]] = {}
    for metric, scalar in run.rows:
        metrics.setdefault(metric, []).append(scalar)
    lines = []
    for metric, scalars in metrics.items():
        overall = run.rows.get((metric, None))
        count = len(scalars) - (overall is not None)
        lines.append((metric.replace("_", " "), f"{count:,}" if count else "", _said(overall)))
    return lines


def _said(row: Row | None) -> str:
    if row is None:
        return ""
    value = row["value"]
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _title(name: str) -> str:
    return f"{name[:-1].capitalize()} {name[-1]}"
