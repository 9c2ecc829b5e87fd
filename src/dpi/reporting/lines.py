"""Rows of a table from runs: those that differ in their seed alone make one."""

from collections.abc import Iterable, Mapping, Sequence

from dpi.reporting.collect import Row, Run
from dpi.reporting.likeness import Measured
from dpi.reporting.paper import printed
from dpi.reporting.table import Block, Cell, Column, Line
from dpi.reporting.words import CONDITIONINGS, FRAMEWORKS, NETWORKS, conditioning, in_order, network

TRAINED = ("denoising", "objective", "fidelity")
"""Evaluations whose numbers depend on the training."""


def blocks_by_conditioning(
    name: str, runs: list[Run], columns: Sequence[Column], variants: tuple[str, ...] = ("",)
) -> tuple[Block, ...]:
    """A block a network and framework of the paper's table, a line a conditioning."""
    paper = printed(name)
    frameworks = in_order({framework for framework, _, _ in paper}, FRAMEWORKS)
    blocks = []
    for arch in networks_of(runs):
        for framework in frameworks:
            lines = {}
            for cond in in_order({*CONDITIONINGS, *(run.kind[2] for run in runs)}, CONDITIONINGS):
                own = pick(runs, variants, framework=framework, arch=arch, cond=cond)
                line = make_line(
                    conditioning(cond), own, columns, paper.get((framework, arch, cond))
                )
                if line.seeds or (framework, arch, cond) in paper:
                    lines[cond] = line
            blocks.append(Block(f"{network(arch)}, {framework}", lines))
    return measured_blocks(blocks)


def make_line(
    title: str,
    runs: Iterable[Run],
    columns: Sequence[Column],
    paper: Mapping[str, float | None] | None,
) -> Line:
    """The row of these runs; of several with the same framework and seed the last counts.

    Args:
        title: of the row.
        runs: those that lack all the columns are no part of it.
        columns: of the table.
        paper: what is printed, by column.
    """
    own = [run for run in runs if any(column.read(run) for column in columns)]
    own = list({(run.kind, run.seed): run for run in own}.values())
    cells = {}
    for column in columns:
        rows = [(run, row) for run in own if (row := column.read(run))]
        cells[column.key] = Cell(
            {run.seed: row["value"] * column.unit for run, row in rows},
            (paper or {}).get(column.key),
            tuple(_measured(column, run, row) for run, row in rows),
        )
    return Line(title, tuple(own), cells)


def pick(runs: list[Run], variants: tuple[str, ...] = ("",), **names: str) -> list[Run]:
    """The runs with these names, those of the last variant last."""
    return [
        run
        for variant in variants
        for run in runs
        if run.variant == variant and names.items() <= run.names.items()
    ]


def networks_of(runs: list[Run]) -> list[str]:
    """The paper's networks first, as far as there are runs of them."""
    return in_order({run.kind[1] for run in runs}, NETWORKS)


def measured_blocks(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Those with any number of ours."""
    return tuple(block for block in blocks if any(line.seeds for line in block.lines.values()))


def _measured(column: Column, run: Run, row: Row) -> Measured:
    settings = dict(row["settings"])
    if row["eval"] in TRAINED:
        training = run.config["training"]
        settings |= {"steps of training": training["steps"], "batch": training["batch_size"]}
    return Measured(f"{run.kind[0]} {column.key}", run.folder.name, settings)
