"""A table as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable
from statistics import fmean

from dpi.reporting.entries import MISSING, Entry, Number, entries
from dpi.reporting.statistics import standard_error
from dpi.reporting.table import Line, Table
from dpi.reporting.verdict import verdicts

LEGEND = "Best {}, second best {} in each block; {} standard error over seeds."

TEX = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "σ": r"$\sigma$",
    "λ": r"$\lambda$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    MISSING: "--",
}


def markdown(table: Table) -> str:
    """A heading, the table, its orderings and its notes; to be read as it is, too."""
    head = ["", table.stub, "seeds"]
    for column in table.columns:
        head += [column.title, "paper"] if table.in_paper(column) else [column.title]
    grid = [head]
    for block in table.blocks:
        rows = entries(table, block)
        for i, (key, line) in enumerate(block.lines.items()):
            title = "" if i else block.title
            grid.append([title, line.title, _seeds(line), *_numbers(rows[key], _markdown)])
    lines = [f"## {table.title}", "", table.caption, "", *_aligned(grid), ""]
    if table.marked:
        lines += [LEGEND.format("**bold**", "*italic*", "±"), ""]
    lines += [f"- {line}" for line in ordering_lines(table)]
    lines += [
        f"- **Note:** {note.text}" if note.warning else f"- {note.text}" for note in table.notes
    ]
    return "\n".join(lines).rstrip() + "\n"


def latex(table: Table) -> str:
    r"""A table environment for \input; it needs the packages booktabs and graphicx.

    A table that is wider than the text is scaled to its width.
    """
    titles, rules, under, at = [], [], [], 4
    for column in table.columns:
        width = 2 if table.in_paper(column) else 1
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{_tex(column.title)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        under += ["ours", "paper"][:width]
        at += width
    legend = LEGEND.format(r"\textbf{bold}", r"\underline{underlined}", r"$\pm$")
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_tex(table.caption)}{' ' + legend if table.marked else ''}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
        rf"\begin{{tabular}}{{ll{'r' * (at - 3)}}}",
        r"\toprule",
        _tex_row(["", "", "", *titles]),
        " ".join(rules),
        _tex_row(["", _tex(table.stub), "seeds", *under]),
    ]
    for block in table.blocks:
        lines.append(r"\midrule")
        rows = entries(table, block)
        for i, (key, line) in enumerate(block.lines.items()):
            title = "" if i else _tex(block.title)
            numbers = _numbers(rows[key], _latex)
            lines.append(_tex_row([title, _tex(line.title), _seeds(line), *numbers]))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    said = [*ordering_lines(table), *(note.text for note in table.notes)]
    lines += [rf"\par\smallskip\raggedright {_tex(line)}" for line in said]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def comma_separated(table: Table) -> str:
    """A line a row: block, row, seeds, and of each metric the mean, its standard error (_se) and
    what the paper prints (_paper), unrounded.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    keys = [column.key + part for column in table.columns for part in ("", "_se", "_paper")]
    writer.writerow(["block", "row", "seeds", *keys])
    for block in table.blocks:
        for line in block.lines.values():
            numbers = []
            for column in table.columns:
                cell = line.cells[column.key]
                mean = fmean(cell.ours.values()) if cell.ours else None
                numbers += [mean, standard_error(cell.ours), cell.paper]
            writer.writerow([block.title, line.title, len(line.seeds), *numbers])
    return file.getvalue()


def ordering_lines(table: Table) -> list[str]:
    """A line a block on whether its rows stand as in the paper."""
    lines = []
    for verdict in verdicts(table):
        columns = "; ".join(f"{title}: {ordering}" for title, ordering in verdict.columns.items())
        title = verdict.block.title
        lines.append(f"{title}: {verdict.words}. Pairs as in the paper: {columns}.")
    return lines


def _seeds(line: Line) -> str:
    return str(len(line.seeds) or MISSING)


def _numbers(row: list[Entry], show: Callable[[Number], str]) -> list[str]:
    return [show(number) for entry in row for number in entry if number is not None]


def _markdown(number: Number) -> str:
    mark = {1: "**", 2: "*"}.get(number.rank, "")
    error = f" ± {number.error}" if number.error else ""
    return f"{mark}{number.text}{mark}{error}"


def _latex(number: Number) -> str:
    mark = {1: r"\textbf{%s}", 2: r"\underline{%s}"}.get(number.rank, "%s")
    error = rf" {{\tiny$\pm$ {number.error}}}" if number.error else ""
    return mark % _tex(number.text) + error


def _tex(text: str) -> str:
    return "".join(TEX.get(sign, sign) for sign in text)


def _tex_row(cells: list[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _aligned(grid: list[list[str]]) -> list[str]:
    """Words to the left, numbers to the right; a block column without titles is left out."""
    if not any(row[0] for row in grid):
        grid = [row[1:] for row in grid]
    words = grid[0].index("seeds")
    widths = [max(3, *(len(row[i]) for row in grid)) for i in range(len(grid[0]))]
    dashes = ["-" * w if i < words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = []
    for row in [grid[0], dashes, *grid[1:]]:
        cells = zip(row, widths, strict=True)
        padded = [c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(cells)]
        lines.append(f"| {' | '.join(padded)} |")
    return lines
