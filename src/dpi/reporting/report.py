"""Collect the rows of all runs into tables, figures and a page."""

import io
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig

from dpi.errors import UserError
from dpi.reporting.collect import Run, collect, sets, single
from dpi.reporting.figures import figures
from dpi.reporting.files import comma_separated, latex, markdown
from dpi.reporting.page import FIGURES, TABLES, Contents, page
from dpi.reporting.tables import tables
from dpi.reporting.variant import share
from dpi.whole import write_whole

FORMATS = {"md": markdown, "tex": latex, "csv": comma_separated}


def report(cfg: DictConfig) -> None:
    """Report as configs/report.yaml says: print the tables and write them, figures and a page.

    Each data set and scale has a report of its own, in a folder DATA-SCALE.

    Raises:
        UserError: no runs, or none of those that are asked for; a file that is damaged.
    """
    found, unnamed = collect(Path(cfg.runs))
    if not found:
        older = f" but {unnamed} whose configuration has no `names`" if unnamed else ""
        hint = "make some, such as with `make table2 SCALE=mini`"
        raise UserError(f"{cfg.runs} holds no runs to report{older}: {hint}")
    names = cfg.names
    for (data, scale), own in sets(found, names.data, names.scale).items():
        print(f"# {data}, {scale}\n")
        _report(share(own, names.variant), unnamed, Path(cfg.out) / f"{data}-{scale}")


def _report(runs: list[Run], unnamed: int, out: Path) -> None:
    runs, doubles = single(runs)
    left_out = _left_out(runs, unnamed, doubles)
    made = tables(runs)
    pictures = {name: _png(figure) for name, figure in figures(runs).items()}
    files = {f"{t.name}.{end}": write(t) for t in made for end, write in FORMATS.items()}
    files |= {f"{name}.png": picture for name, picture in pictures.items()}
    files["index.html"] = page(Contents(runs, made, pictures, left_out))
    _write(out, files)
    for text in [*map(markdown, made), *left_out]:
        print(f"{text}\n")
    print(f"page    {out / 'index.html'}\n")


def _left_out(runs: list[Run], unnamed: int, doubles: list[Run]) -> list[str]:
    unfinished = {run.folder.name: run.unfinished for run in runs if run.unfinished}
    lines = []
    if unnamed:
        lines.append(
            f"Left out: {unnamed} folder{'s' * (unnamed > 1)} whose configuration has no `names`."
        )
    if unfinished:
        count = sum(unfinished.values())
        lines.append(
            f"Left out: {count:,} row{'s' * (count > 1)} measured before the end of the training "
            f"of {', '.join(unfinished)}."
        )
    if doubles:
        names = ", ".join(run.folder.name for run in doubles)
        lines.append(f"Left out, for another run has the same names and seed: {names}.")
    return lines


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    return file.getvalue()


def _write(folder: Path, files: dict[str, str | bytes]) -> None:
    """Write the files; what an earlier report wrote and this one does not goes."""
    for name, content in files.items():
        write_whole(folder / name, content)
    known = {f"{name}.{end}" for name in TABLES for end in FORMATS}
    for name in (known | {f"{name}.png" for name in FIGURES}) - files.keys():
        (folder / name).unlink(missing_ok=True)
