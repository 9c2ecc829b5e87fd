"""Tables 1 to 5 and the ablations: what is measured here beside what the paper prints."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dpi.reporting.architecture import architecture
from dpi.reporting.collect import Row, Run
from dpi.reporting.digits import fixed, percent, scientific
from dpi.reporting.lines import (
    blocks_by_conditioning,
    make_line,
    measured_blocks,
    networks_of,
    pick,
)
from dpi.reporting.notes import noted
from dpi.reporting.paper import printed
from dpi.reporting.statistics import BySeed
from dpi.reporting.table import Block, Cell, Column, Table
from dpi.reporting.variant import COST, LINEAR
from dpi.reporting.words import CONDITIONINGS, FRAMEWORKS, NETWORKS, conditioning, network

MIB_IN_GB = 2**20 / 1e9


def tables(runs: list[Run]) -> list[Table]:
    """All tables of which there is at least one number of ours.

    Args:
        runs: of one data set at one scale, no two with the same names and seed.
    """
    makers = (table1, table2, table3, table4, table5, ablations)
    return [noted(table) for make in makers if (table := make(runs)).measured]


def table1(runs: list[Run]) -> Table:
    """The networks before they are told anything, one run of each."""
    columns = (
        Column("parameters", "parameters, M", fixed(1, 3), _row("parameters"), unit=1e-6),
        Column("residual_blocks", "residual blocks", fixed(0), architecture("residual_blocks")),
        Column("base_channels", "base channels", fixed(0), architecture("base_channels")),
        Column("heads", "heads", fixed(0), architecture("heads")),
        Column("head_channels", "channels a head", fixed(0), architecture("head_channels")),
        Column("attention", "attention at", fixed(0), architecture("attention")),
    )
    lines = {}
    for arch, title in NETWORKS.items():
        # A network that is told in its input or at its output is as it was.
        own = [
            run
            for cond in ("ncsnv2", "tmap", "sigmamap")
            for run in pick(runs, ("", COST), arch=arch, cond=cond)
        ]
        counted = [run for run in own if columns[0].read(run)]
        lines[arch] = make_line(title, (counted or own)[:1], columns, printed("table1")[(arch,)])
    return Table(
        name="table1",
        title="Table 1",
        caption="The two networks, told nothing. Heads are those of the first attention.",
        stub="network",
        columns=columns,
        blocks=(Block("", lines),),
        command="make table1",
        ordered=False,
    )


def table2(runs: list[Run]) -> Table:
    """The error of the predicted noise."""
    columns = (
        Column("t0", "t = 0, σ = 0.01", scientific, _row("mse", 0), False),
        Column("t333", "t = 333, σ = 1.46", scientific, _row("mse", 333), False),
        Column("t666", "t = 666, σ = 9.49", scientific, _row("mse", 666), False),
        Column("t999", "t = 999, σ = 157", scientific, _row("mse", 999), False),
        Column("mean", "mean over schedule", scientific, _row("mse"), False),
    )
    return Table(
        name="table2",
        title="Table 2",
        caption="Denoising: mean squared error of the predicted noise on held-out pictures, "
        "diffusion. Lower is better.",
        stub="told by",
        columns=columns,
        blocks=blocks_by_conditioning("table2", runs, columns),
        command="make table2",
    )


def table3(runs: list[Run]) -> Table:
    """How close samples come to real pictures."""
    columns = (
        Column("fid", "FID ↓", fixed(2), _row("fid"), False),
        Column("sfid", "sFID ↓", fixed(2), _row("sfid"), False),
        Column("precision", "precision ↑", fixed(3), _row("precision"), True),
        Column("recall", "recall ↑", fixed(3), _row("recall"), True),
    )
    return Table(
        name="table3",
        title="Table 3",
        caption="Generation: samples against real pictures.",
        stub="told by",
        columns=columns,
        blocks=blocks_by_conditioning("table3", runs, columns),
        command="make table3",
    )


def table4(runs: list[Run]) -> Table:
    """What a network costs."""
    columns = (
        Column("parameters", "parameters, M", fixed(2, 3), _row("parameters"), unit=1e-6),
        Column("memory", "memory, GB", fixed(2, 3), _row("training_peak_mb"), unit=MIB_IN_GB),
        Column("gflops", "GFLOPs, paper's count", fixed(2, 3), _row("gflops_paper")),
        Column("gflops_true", "GFLOPs, all", fixed(2, 3), _row("gflops_true")),
    )
    return Table(
        name="table4",
        title="Table 4",
        caption="Cost: parameters, peak memory of a training step, and operations for one "
        "picture, as the paper counts them and all of them. Memory depends on the device, the "
        "precision and the pictures a step.",
        stub="told by",
        columns=columns,
        blocks=blocks_by_conditioning("table4", runs, columns, ("", COST)),
        command="make table4",
    )


def table5(runs: list[Run]) -> Table:
    """The learned lambda against lambda(s) = s."""
    columns = tuple(
        Column(framework, f"{framework} objective", scientific, _objective(framework), False)
        for framework in FRAMEWORKS
    )
    blocks = []
    for arch in networks_of(runs):
        lines = {}
        for key, title, variant in (
            ("linear", "λ(s) = s", LINEAR),
            ("learned", "λ learned", ""),
        ):
            paper = {f: printed("table5").get((f, arch), {}).get(key) for f in FRAMEWORKS}
            own = pick(runs, (variant,), arch=arch, cond="dpi")
            lines[key] = make_line(title, own, columns, paper)
        blocks.append(Block(network(arch), lines))
    return Table(
        name="table5",
        title="Table 5",
        caption="The training objective over all scalars on held-out pictures, of DPI. "
        "Lower is better.",
        stub="λ",
        columns=columns,
        blocks=measured_blocks(blocks),
        command="make table5",
    )


def ablations(runs: list[Run]) -> Table:
    """Runs with other settings beside the plain ones of their kind."""
    objective = Column("objective", "objective", scientific, _objective(), False)
    change = Column("change", "change, %", percent, lambda run: None)
    measured = [run for run in runs if objective.read(run)]
    blocks = []
    # Table 5 shows the linear lambda; here it is but one among others.
    varied = {run.kind for run in measured if run.variant not in ("", LINEAR)}
    for kind in sorted(varied, key=_place):
        own = [run for run in measured if run.kind == kind]
        lines = {}
        for variant in sorted({"", *(run.variant for run in own)}, key=_naturally):
            of = [run for run in own if run.variant == variant]
            line = make_line(variant or "default", of, (objective, change), {})
            if variant:
                ours = (each.cells["objective"].ours for each in (line, lines[""]))
                line = replace(line, cells={**line.cells, "change": Cell(_percent(*ours))})
            lines[variant] = line
        framework, arch, cond = kind
        blocks.append(Block(f"{network(arch)}, {framework}, {conditioning(cond)}", lines))
    return Table(
        name="ablations",
        title="Ablations",
        caption="The training objective over all scalars on held-out pictures, of runs with "
        "other settings. Changes are those against the default, over the seeds that both have.",
        stub="variant",
        columns=(objective, change),
        blocks=tuple(blocks),
        command="make ablations",
        ordered=False,
    )


def _row(metric: str, scalar: int | None = None) -> Callable[[Run], Row | None]:
    return lambda run: run.rows.get((metric, scalar))


def _objective(framework: str | None = None) -> Callable[[Run], Row | None]:
    """Diffusion's objective is the mean error of the predicted noise, so either does."""

    def read(run: Run) -> Row | None:
        if framework in (None, run.kind[0]):
            return run.rows.get(("objective", None)) or run.rows.get(("mse", None))
        return None

    return read


def _place(kind: tuple[str, str, str]) -> tuple[Any, ...]:
    framework, arch, cond = kind
    known = [*NETWORKS, *FRAMEWORKS, *CONDITIONINGS]
    return tuple((known.index(w) if w in known else len(known), w) for w in (arch, framework, cond))


def _naturally(variant: str) -> list[Any]:
    """8 before 16."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", variant)]


def _percent(ours: BySeed, default: BySeed) -> BySeed:
    return {seed: 100 * (ours[seed] / default[seed] - 1) for seed in ours.keys() & default.keys()}
