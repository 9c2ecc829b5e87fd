"""From a folder of runs, or their numbers, to a folder of tables, figures and a page."""

import re
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from dpi.atomic import atomic_write
from dpi.errors import UserError, printable
from dpi.reporting.figures import figures
from dpi.reporting.formats import lines_of_runs, markdown, printed, printed_pairs
from dpi.reporting.frame import NAMES, Damaged, joined, read_folder, read_losses, results
from dpi.reporting.labels import labelled, some
from dpi.reporting.page import explore, page
from dpi.reporting.pairs import conclusion
from dpi.reporting.paper import specs
from dpi.reporting.results_csv import quoted, read_csv, to_csv
from dpi.reporting.tables import differences, tables
from dpi.runs.files import CONFIG

PAPERS_DATA = "ffhq64"
"""Data whose report has the paper's tables without being asked for them."""


def report(
    runs: Path,
    out: Path,
    paper: bool | None = None,
    data: str | None = None,
    scale: str | None = None,
) -> None:
    """Print the tables of all runs; write them, figures and a page.

    Each data set and scale has a report of its own in the folder `out`/DATA-SCALE: index.html,
    results.csv with all numbers, tables and pairs as .md and .csv, figures as .svg. Files that
    cannot be read are left out, and named.

    Args:
        runs: a folder of runs; or a results.csv, or a pattern of several, for the same without
            what is in the runs' folders alone: samples, losses, configurations.
        out: a folder, created if need be.
        paper: the paper's tables, with its numbers, in place of a ranking; None for those of the
            paper's data alone.
        data, scale: report on these alone.

    Raises:
        UserError: no runs, or none of these; once all else is written, files that cannot be read.
    """
    damaged: Damaged = {}
    is_csv = Path(runs).suffix == ".csv"
    found, rows = read_csv(str(runs)) if is_csv else read_folder(Path(runs), damaged)
    if found.empty:
        hint = f"{runs} holds no runs to report: make some, as with `make table2 SCALE=mini`"
        if (Path(runs) / CONFIG).is_file():
            hint = f"{runs} is a run: give its parent, runs={Path(runs).absolute().parent}"
        raise UserError(some(damaged.values(), "; ") or hint)
    kinds = dict(list(labelled(found).groupby(["data", "scale"])))
    chosen = [(of, at) for of, at in kinds if (str(data or of), str(scale or at)) == (of, at)]
    if not chosen:
        there = " or ".join(f"data={of} scale={at}" for of, at in kinds)
        raise UserError(f"there are no runs of these data= and scale=: choose {there}")
    for of, at in chosen:
        print(f"# {of}, {at}\n")
        papers = of == PAPERS_DATA if paper is None else paper
        folder = Path(out) / f"{of}-{at}"
        _write(folder, _files(kinds[of, at], rows, papers, damaged))
        print(f"\npage    {folder / 'index.html'}\n")
    if damaged:
        raise UserError(f"{some(damaged.values(), '; ')}; all else is reported")


def _files(runs: pd.DataFrame, rows: pd.DataFrame, paper: bool, damaged: Damaged) -> dict[str, str]:
    """The content of each file; prints the tables.

    Args:
        runs: of the report, with labels.
        rows: as from `read_folder`.
        paper: see `tables`.
        damaged: see `parse`.
    """
    rows = joined(runs, rows)
    # Of two that should be the same run, the one counts that has the most rows of its weights.
    count = rows[rows.left_out == ""].run.value_counts().reindex(runs.index, fill_value=0)
    best = runs.loc[count.sort_values(ascending=False, kind="stable").index]
    twice = best.index[best.duplicated([*NAMES, "config", "on", "seed"])]
    left_out = {"runs with the settings and the seed of another": twice}
    runs, rows = runs.drop(twice), rows[~rows.run.isin(twice)]
    final = results(rows)
    made = tables(final, paper)
    compared = differences(made)
    sentence = conclusion(compared)
    shown = [*map(printed, made), printed_pairs(compared, sentence)]
    losses = read_losses(runs, damaged)
    drawn = figures(runs, final, losses)
    explored = list(explore(runs, damaged))
    left_out["files that cannot be read"] = [str(path) for path in damaged]
    left_out |= {why: of.unique() for why, of in rows.groupby("left_out").run if why}
    notes = [f"Left out: {why}: {some(of, most=5)}." for why, of in left_out.items() if len(of)]
    if runs.on.any():
        notes.append(
            "Runs of other lengths, on other images, or with others held out, are not compared."
        )
    texts = {f"{table.name}.md": markdown(table) for table in shown}
    plain = [re.sub(r"\\(\W|_)", r"\1", text) for text in texts.values()]  # no Markdown's escapes
    print(_escaped("\n".join([*plain, *notes])))
    html = page(
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
        **{f"{table.name}.csv": quoted(table.numbers) for table in shown},
        **{f"{name}.svg": figure for name, figure in drawn.items()},
        "results.csv": to_csv(final),
        "index.html": html,
    }


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write the files; those of an earlier report that this one does not have are removed."""
    for name, content in files.items():
        atomic_write(folder / name, _escaped(content))
    names = (*specs(), "pairs", "lambda", "errors", "losses")
    known = {f"{name}.{end}" for name in names for end in ("md", "csv", "svg")}
    for name in known - files.keys():
        (folder / name).unlink(missing_ok=True)


def _escaped(text: str) -> str:
    """Names may have what a terminal would obey."""
    return "\n".join(map(printable, text.split("\n")))
