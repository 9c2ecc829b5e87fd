"""From a folder of runs, or their numbers, to a folder of tables, figures and a page."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from dpi.atomic import atomic_write
from dpi.errors import UserError
from dpi.reporting.explorer import explore
from dpi.reporting.figures import figures
from dpi.reporting.formats import markdown, markdown_pairs
from dpi.reporting.frame import (
    NAMES,
    Damaged,
    is_final,
    labelled,
    read_rows,
    read_runs,
    results,
)
from dpi.reporting.labels import some
from dpi.reporting.page import render
from dpi.reporting.pairs import conclusion, differences
from dpi.reporting.paper import specs
from dpi.reporting.results_csv import read_csv, to_csv
from dpi.reporting.tables import tables

FORMATS = {
    "md": markdown,
    "tex": lambda table: render("table.tex.j2", table=table),
    "csv": lambda table: table.cells.to_csv(index=False),
}
"""Of tables."""

NOTHING = (
    "Nothing is evaluated yet: python evaluate.py run=outputs/RUN eval=[denoising], or "
    "eval=[objective] of a flow."
)
"""Said of runs without results, in place of what they come to."""

LeftOut = dict[str, Sequence[str]]
"""Names of what is not in the report, by the reason."""


def report(runs: Path, out: Path, data: str | None = None, scale: str | None = None) -> None:
    """Print the tables of all runs; write them, figures and a page.

    Each data set and scale has a report of its own in the folder `out`/DATA-SCALE: index.html,
    results.csv with all numbers, tables as .md, .tex and .csv, pairs.md and pairs.csv, figures as
    .svg. Files that cannot be read are left out, and named.

    Args:
        runs: a folder of runs; or a results.csv, or a pattern of several, for the same without
            what is in the runs' folders alone: samples, losses, configurations.
        out: a folder, created if need be.
        data, scale: report on these alone.

    Raises:
        UserError: no runs, or none of these; once all else is written, files that cannot be read.
    """
    damaged: dict[Path, str] = {}
    if Path(runs).suffix == ".csv":
        found, rows = read_csv(str(runs))
        unnamed, rows_of = [], partial(labelled, rows=rows)
    else:
        found, unnamed = read_runs(Path(runs), damaged)
        rows_of = partial(read_rows, damaged=damaged)
    if found.empty and damaged:
        raise UserError("; ".join(damaged.values()))
    if found.empty:
        others = f" but {len(unnamed)} whose configuration has no `names`" if unnamed else ""
        hint = "make some, such as with `make table2 SCALE=mini`"
        raise UserError(f"{runs} holds no runs to report{others}: {hint}")
    asked = {k: str(v) for k, v in (("data", data), ("scale", scale)) if v is not None}
    chosen = found
    for key, value in asked.items():
        chosen = chosen[chosen[key] == value]
    if chosen.empty:
        asked = " ".join(f"{key}={value}" for key, value in asked.items())
        choices = {f"data={of} scale={at}" for of, at in zip(found.data, found.scale, strict=True)}
        raise UserError(f"there are no runs of {asked}: choose {' or '.join(sorted(choices))}")
    for (of, at), own in chosen.groupby(["data", "scale"]):
        print(f"# {of}, {at}\n")
        folder = Path(out) / f"{of}-{at}"
        twice = own.duplicated([*NAMES, "variant", "seed"])
        left_out = {
            "folders whose configuration has no `names` or `settings`": unnamed,
            "runs with the settings and the seed of another": own.index[twice],
        }
        _write(folder, _files(own[~twice], rows_of(own[~twice]), left_out, damaged))
        print(f"\npage    {folder / 'index.html'}\n")
    if damaged:
        print(*damaged.values(), sep="\n", file=sys.stderr)
        files = "1 file" if len(damaged) == 1 else f"{len(damaged)} files"
        raise UserError(f"{files} cannot be read, see above; all else is reported")


def _files(
    runs: pd.DataFrame, rows: pd.DataFrame, left_out: LeftOut, damaged: Damaged
) -> dict[str, str]:
    """The content of each file; prints the tables."""
    final = results(rows)
    made = tables(final)
    compared = differences(made)
    evaluated = (rows["eval"] != "architecture").any()
    sentence = conclusion(compared) if evaluated else NOTHING
    drawn = figures(runs, final, damaged)
    pages = list(explore(runs, final, damaged)) if "folder" in runs else []
    early = rows[~is_final(rows)]
    count = f"{len(early):,} row{'s' * (len(early) > 1)}"
    left_out |= {"files that cannot be read": list(map(str, damaged))}
    left_out |= {f"{count} measured before the end of the training": early.run.unique()}
    notes = [f"Left out: {why}: {some(of, most=5)}." for why, of in left_out.items() if len(of)]

    files = {f"{t.spec.name}.{end}": show(t) for end, show in FORMATS.items() for t in made}
    print("\n".join([*(files[f"{t.spec.name}.md"] for t in made), sentence, *notes]))
    files |= {f"{name}.svg": figure for name, figure in drawn.items()}
    files["pairs.md"] = markdown_pairs(compared, sentence)
    files["pairs.csv"] = compared.to_csv(index=False)
    files["results.csv"] = to_csv(final)
    files["index.html"] = render(
        "page.html.j2",
        names=runs.iloc[0][NAMES],
        count=len(runs),
        seeds=sorted(runs.seed.unique()),
        sentence=sentence,
        left_out=notes,
        tables=made,
        pairs=compared.to_dict("records"),
        figures={name: Markup(figure) for name, figure in drawn.items()},
        runs=pages,
    )
    return files


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write the files; those of an earlier report that this one does not have are removed."""
    tables = {f"{name}.{end}" for name in (*specs(), "pairs") for end in FORMATS}
    figures = {f"figure{number}.{end}" for number in range(2, 6) for end in ("svg", "png")}
    for name, content in files.items():
        atomic_write(folder / name, content)
    for name in (tables | figures) - files.keys():
        (folder / name).unlink(missing_ok=True)
