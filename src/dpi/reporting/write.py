"""From a folder of runs, or their numbers, to a folder of tables, figures and a page."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from dpi.atomic import atomic_write
from dpi.errors import UserError, printable
from dpi.reporting.explorer import explore, read_losses
from dpi.reporting.figures import figures
from dpi.reporting.formats import lines_of_runs, markdown, printed, printed_pairs
from dpi.reporting.frame import NAMES, Damaged, is_final, joined, read_folder, results
from dpi.reporting.labels import labelled, some
from dpi.reporting.page import render
from dpi.reporting.pairs import conclusion, differences
from dpi.reporting.paper import specs
from dpi.reporting.results_csv import read_csv, to_csv
from dpi.reporting.tables import tables
from dpi.runs.identity import is_plain

PAPERS_DATA = "ffhq64"
"""Data whose report has the paper's tables without being asked for them."""


def report(runs: Path, out: Path, paper: bool | None = None, **names: str | None) -> None:
    """Print the tables of all runs; write them, figures and a page.

    Each data set and scale has a report of its own in the folder `out`/DATA-SCALE: index.html,
    results.csv with all numbers, tables as .md, .tex and .csv, pairs.md and pairs.csv, figures as
    .svg. Files that cannot be read are left out, and named.

    Args:
        runs: a folder of runs; or a results.csv, or a pattern of several, for the same without
            what is in the runs' folders alone: samples, losses, configurations.
        out: a folder, created if need be.
        paper: the paper's tables, with its numbers, in place of a ranking; None for those of the
            paper's data alone.
        names: `data` and `scale`, to report on these alone.

    Raises:
        UserError: no runs, or none of these; a name that cannot be that of a folder; once all else
            is written, files that cannot be read.
    """
    damaged: Damaged = {}
    is_csv = Path(runs).suffix == ".csv"
    found, rows = read_csv(str(runs)) if is_csv else read_folder(Path(runs), damaged)
    if found.empty:
        hint = f"{runs} holds no runs to report: make some, as with `make table2 SCALE=mini`"
        raise UserError("; ".join(damaged.values()) or hint)
    found = _chosen(labelled(found), **names)
    for (of, at), own in found.groupby(["data", "scale"]):
        print(f"# {of}, {at}\n")
        papers = of == PAPERS_DATA if paper is None else paper
        folder = Path(out) / f"{of}-{at}"
        _write(folder, _files(own, rows, papers, damaged))
        print(f"\npage    {folder / 'index.html'}\n")
    if damaged:
        raise UserError(f"{some(damaged.values(), '; ')}; all else is reported")


def _chosen(runs: pd.DataFrame, **names: str | None) -> pd.DataFrame:
    """The runs of a data set and scale; UserError if there are none, or if one of their names
    would lead out of the report's folder."""
    asked = {key: str(name) for key, name in names.items() if name is not None}
    chosen = runs[(runs[[*asked]] == pd.Series(asked)).all(axis=1)]
    if chosen.empty:
        there = sorted(
            {f"data={of} scale={at}" for of, at in zip(runs.data, runs.scale, strict=True)}
        )
        said = " ".join(f"{key}={value}" for key, value in asked.items())
        raise UserError(f"there are no runs of {said}: choose {' or '.join(there)}")
    for name in (*chosen.data.unique(), *chosen.scale.unique()):
        if not is_plain(name):
            raise UserError(f"{name!r} is not a plain name of a data set or a scale")
    return chosen


def _files(runs: pd.DataFrame, rows: pd.DataFrame, paper: bool, damaged: Damaged) -> dict[str, str]:
    """The content of each file; prints the tables.

    Args:
        runs: of the report, with labels.
        rows: as from `read_folder`.
        paper: see `tables`.
        damaged: see `parse`.
    """
    twice = runs.duplicated([*NAMES, "config", "seed"])
    left_out = {"runs with the settings and the seed of another": runs.index[twice]}
    runs = runs[~twice]
    rows = joined(runs, rows)
    final, early = results(rows), rows[~is_final(rows)]
    made = tables(final, paper)
    compared = differences(made)
    sentence = conclusion(compared)
    shown = [*map(printed, made), printed_pairs(compared, sentence)]
    losses = read_losses(runs, damaged)
    drawn = figures(runs, final, losses)
    explored = list(explore(runs, damaged))
    left_out["files that cannot be read"] = [printable(str(path)) for path in damaged]
    left_out["rows from before the end of the training"] = early.run.unique()
    notes = [f"Left out: {why}: {some(of, most=5)}." for why, of in left_out.items() if len(of)]
    texts = {f"{table.name}.md": markdown(table) for table in shown}
    print("\n".join([*texts.values(), *notes]))
    page = render(
        "page.html.j2",
        names=runs.iloc[0][NAMES],
        seeds=sorted(runs.seed.unique()),
        sentence=sentence,
        left_out=notes,
        tables=shown,
        figures={name: Markup(figure) for name, figure in drawn.items()},
        lines_of_runs=lines_of_runs(runs, final, losses),
        runs=explored,
    )
    return {
        **texts,
        **{f"{table.name}.tex": render("table.tex.j2", table=table) for table in shown},
        **{f"{table.name}.csv": table.numbers.to_csv(index=False) for table in shown},
        **{f"{name}.svg": figure for name, figure in drawn.items()},
        "results.csv": to_csv(final),
        "index.html": page,
    }


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write the files; those of an earlier report that this one does not have are removed."""
    for name, content in files.items():
        atomic_write(folder / name, content)
    names = (*specs(), "pairs", "lambda", "errors", "losses")
    known = {f"{name}.{end}" for name in names for end in ("md", "tex", "csv", "svg")}
    for name in known - files.keys():
        (folder / name).unlink(missing_ok=True)
