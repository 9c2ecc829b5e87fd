"""Write the tables of documentation and results between their markers, from the committed rows.

    python scripts/tables.py [docs/TRAINING.md ...]      all pages, or these

A marker names a function below and its arguments:

    <!-- table: compared 'results/conditioning/*.csv' 'DRUNet, flow; 1,000 steps' -->
    ...
    <!-- end of table -->
"""

import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import conditioning
import pandas as pd
from conditioning import markdown
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from dpi.cli import one_line, register_resolvers
from dpi.described import described
from dpi.errors import UserError
from dpi.evaluation.complexity import gflops
from dpi.reporting import report
from dpi.reporting.labels import label
from dpi.reporting.paper import printed
from dpi.runs.build import build_meta

ROOT = Path(__file__).parents[1]
REPRODUCTION = ROOT / "results/reproduction"
EXPECTED = ROOT / "results/what_to_expect"
CPU = "results/cpu.jsonl"

MARKED = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- end of table -->\n)", re.DOTALL)


def pages() -> list[Path]:
    """All pages that have tables."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")]
    return sorted(page for page in found if MARKED.search(page.read_text()))


def written(text: str) -> str:
    """A page with its tables as the rows have them."""

    def table(found: re.Match) -> str:
        name, *arguments = shlex.split(found[2])
        return f"{found[1]}\n{TABLES[name](*arguments)}\n\n{found[3]}"

    return MARKED.sub(table, text)


def reported(pattern: str, name: str) -> str:
    """A table of the report of these rows."""
    return _report(pattern)[name].strip()


@cache
def _report(pattern: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(None):
        report(ROOT / pattern, Path(folder), paper=True)
        return {path.stem: path.read_text() for path in Path(folder).glob("*/*.md")}


def compared(pattern: str, block: str, seeds: str = "1") -> str:
    """Each conditioning of a block at its best settings, if it has so many seeds."""
    table = conditioning.compared(_of("block", pattern, block))
    return markdown(table[table.seeds.astype(int) >= int(seeds)])


def across(base: str, *cells: str) -> str:
    """By how many percent each conditioning is over another in several blocks; a column of the
    table is three arguments: its title, the pattern and the block."""
    columns = {
        title: conditioning.compared(_of("block", pattern, block))[conditioning.BASES[base]]
        for title, pattern, block in zip(*[iter(cells)] * 3, strict=True)
    }
    rows = dict.fromkeys(row for column in columns.values() for row in column.index)
    del rows[base]
    return markdown(pd.DataFrame(columns, index=list(rows)).fillna(""))


def conditioned(pattern: str, block: str) -> str:
    """As `compared`, with what each costs over the t map: parameters, and a training step on a
    CPU."""
    return markdown(_conditioned(pattern, block))


def _conditioned(pattern: str, block: str) -> pd.DataFrame:
    runs = _of("block", pattern, block)
    table = conditioning.compared(runs)
    found = {row.row: row for row in runs.itertuples()}
    counts, steps = {}, _steps(runs.arch.iloc[0])
    for name, run in found.items():
        own = {k: v for k, v in json.loads(run.config).items() if k.startswith(("arch.", "cond."))}
        options = [f"{key}={json.dumps(value)}" for key, value in own.items()]
        names = (f"arch={run.arch}", f"cond={run.cond}", f"scale={run.scale}")
        counts[name] = parameters(configuration(*names, *options))
    table.insert(0, "parameters", [f"{counts[of] / counts['t map']:.2f}" for of in table.index])
    table.insert(1, "training step", [steps.get(of, "") for of in table.index])
    return table


def recommended() -> str:
    """README's: when to use which conditioning, and what it gives and costs."""
    block = "DRUNet, diffusion; experiment = comparison; 1,000 steps"
    shown = {
        "FiLM, first convolutions": "a training step must be fast",
        "DPI, finest level": "each scalar needs a plain network, such as for export",
        "DPI + FiLM, finest level, first convolutions": "the lowest error counts",
        "DPI": "you do not know which layers matter",
    }
    table = _conditioned("results/conditioning/comparison/*.csv", block).loc[list(shown)]
    columns = ["vs t map, %", "parameters", "training step"]
    table = table[columns].rename(columns={"vs t map, %": "error vs t map, %"})
    table.insert(0, "use it if", shown)
    return markdown(table)


def _steps(arch: str) -> dict[str, str]:
    """The time of a training step at 16x16 over the t map's, by conditioning."""
    return {
        row[""].removesuffix(", 8 scalars"): f"{row['cells']['over t map']:.2f}"
        for row in _times("training")
        if row["network"] == arch and _size(row["options"]) == "16x16"
    }


@cache
def _rows(pattern: str) -> pd.DataFrame:
    return conditioning.read(str(ROOT / pattern))


@cache
def _best(pattern: str) -> pd.DataFrame:
    return conditioning.best(_rows(pattern))


def _of(column: str, pattern: str, name: str) -> pd.DataFrame:
    runs = _best(pattern)
    if (runs[column] != name).all():
        raise UserError(f"{pattern} has no {name!r}, but {', '.join(runs[column].unique())}")
    return runs[runs[column] == name]


def conditionings() -> str:
    """What cond= can be, as the files of the conditionings say."""
    lines = [[f"`{name}`", *said] for name, said in described("conditioning").items()]
    return _table(["`cond=`", "in reports", "what it does"], lines)


def errors() -> str:
    """README's: the mean error of each conditioning of the paper on both networks."""
    means = {}
    for arch, file in (("drunet", "results.csv"), ("adm", "adm/results.csv")):
        means[label(arch)] = _mean_errors(file).xs("{}", level="config")
    table = pd.DataFrame(means).loc[["ncsnv2", "sigmamap", "tmap", "mlp", "dpi"]]
    table = table.map("{:.4f}".format).replace("nan", "").rename(label)
    table.loc["DPI"] = table.loc["DPI"].map("**{}**".format)
    return markdown(table.rename({"DPI": "**DPI**"}))


def wider() -> str:
    """DPI on DRUNet, against a t map of as many parameters."""
    lines = []
    for file, cond, width in (
        ("results.csv", "tmap", None),
        ("ablations.csv", "tmap", [23, 45, 91, 181]),
        ("results.csv", "dpi", None),
    ):
        config = {"arch.channels": width} if width else {}
        error = _mean_errors(file)[cond, json.dumps(config)]
        cfg = configuration(
            "arch=drunet", f"cond={cond}", "scale=mini", *(f"{k}={v}" for k, v in config.items())
        )
        cells = [", ".join(map(str, cfg.arch.channels)), f"{parameters(cfg) / 1e6:.2f} M"]
        lines.append([label(cond), *cells, f"{gflops(cfg)[1]:.3f}", f"{error:.4f}"])
    heads = ["width", "parameters", "GFLOPs", "mean error"]
    return _table(["conditioning", *heads], lines)


def _mean_errors(file: str) -> pd.Series:
    """By conditioning and settings, of all seeds."""
    rows = pd.read_csv(REPRODUCTION / file, low_memory=False)
    return (
        rows[(rows.metric == "mse") & rows.scalar.isna()].groupby(["cond", "config"]).value.mean()
    )


def configuration(*overrides: str) -> DictConfig:
    """A configuration of train.py."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", [*overrides, "run=none"])


def parameters(cfg: DictConfig) -> int:
    """How many the network has."""
    return sum(p.numel() for p in build_meta(cfg).parameters())


def counts() -> str:
    """Parameters and GFLOPs of Tables 1 and 4 at paper size, beside the paper's."""
    papers = printed("table4").set_index(["framework", "arch", "row", "column"]).value
    columns, lines = ("paper parameters", "paper gflops"), []
    for arch, cond in product(("drunet", "adm"), ("ncsnv2", "sigmamap", "tmap", "mlp", "dpi")):
        if (arch, cond) == ("drunet", "mlp"):
            continue
        cfg = configuration(f"arch={arch}", f"cond={cond}")
        count, (paper, true) = parameters(cfg), gflops(cfg)
        ours = [f"{count / 1e6:.2f}", f"{paper:.2f}"]
        # None of the sigma map.
        row = [papers.get(("diffusion", arch, label(cond), key)) for key in columns]
        theirs = ["-" if of is None else f"{of:.2f}" for of in row]
        if theirs not in (ours, ["-", "-"]):
            raise UserError(f"{arch}, {cond}: {ours}, and the paper prints {theirs}")
        lines.append(
            [arch, cond, f"{count:,}", ours[0], theirs[0], ours[1], theirs[1], f"{true:.3f}"]
        )
    heads = ["network", "conditioning", "parameters", "millions", "paper"]
    heads += ["GFLOPs, paper's accounting", "paper", "true GFLOPs"]
    return _table(heads, lines)


def precision() -> str:
    """By how many percent bfloat16 changes the error."""
    rows = pd.read_csv(ROOT / "results/precision.csv").astype({"scalar": object}).fillna("mean")
    mse = rows.pivot_table("mse", ["cond", "ends"], ["precision", "scalar"])
    percent = 100 * (mse["bf16-mixed"] / mse["32-true"] - 1)
    lines = [
        [label(cond), ends, *(f"{percent[s][cond, ends]:+.2f}" for s in ("mean", 0, 333, 666, 999))]
        for cond, ends in product(("dpi", "tmap", "sigmamap"), ("float32", "bfloat16"))
    ]
    heads = ["model", "ends of the network", "mean", "t = 0", "333", "666", "999"]
    return _table(heads, lines)


def timed(table: str, cell: str, digits: str, file: str = CPU) -> str:
    """A number that benchmarks/cpu.py or gpu.py measured, for each network and way to run it."""
    found = {
        (row[""], f"{label(row['network'])}, {_size(row['options'])}"): row["cells"][cell]
        for row in _times(table, file)
    }
    if table == "sampling":  # all images at one scalar
        found = {(way.removesuffix(", 8 scalars"), of): cell for (way, of), cell in found.items()}
    if not found:
        return "Not measured."
    cells = pd.Series(found).unstack(sort=False).map(f"{{:{digits}}}".format).replace("nan", "")
    return markdown(cells)


def _times(table: str, file: str = CPU) -> list[dict[str, Any]]:
    """The rows of a table of a benchmark, as far as there are any."""
    path = ROOT / file
    rows = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [row for row in rows if row["table"] == table]


def _size(options: list[str]) -> str:
    sizes = {"scale=mini": "16x16", "scale=small": "32x32"}
    return next((sizes[of] for of in reversed(options) if of in sizes), "64x64")


def logs() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The runs of results/what_to_expect, and the log of each by the number of steps taken."""
    runs = pd.read_csv(EXPECTED / "runs.csv", index_col="run")
    found = {run: pd.read_csv(EXPECTED / f"{run}.csv") for run in runs.index}
    return runs, {run: log.set_index(log.step + 1) for run, log in found.items()}


def whole_trainings() -> str:
    """The held-out losses at some steps, all at scale=mini."""
    runs, found = logs()
    steps = (500, 1000, 2000, 3000)
    lines = [
        [
            *(run.images, model(run), f"`{run.options}`"),
            *_at(found[run.Index].val_loss, steps, ".4f"),
            f"{run.minutes:.0f}",
        ]
        for run in runs[runs.scale == "mini"].itertuples()
    ]
    heads = ["images", "model", "`train.py ...`", *(f"{n:,}" for n in steps), "minutes"]
    return _table(heads, lines)


def first_steps() -> str:
    """The losses of the first steps at larger scales."""
    runs, found = logs()
    steps = (50, 100, 200, 500, 1000)
    lines = [
        [f"`{run.options}`", *_at(found[run.Index].loss, steps, ".3f")]
        for run in runs[runs.scale != "mini"].itertuples()
    ]
    return _table(["`train.py ...`", *(f"{n:,}" for n in steps)], lines)


def _at(losses: pd.Series, steps: Iterable[int], digits: str) -> list[str]:
    losses = losses.dropna()
    return [format(losses[n], digits) if n in losses else "" for n in steps]


def model(run: Any) -> str:
    """Of a run of results/what_to_expect."""
    return f"{run.network}, {run.conditioning}, {run.framework}"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    return markdown(pd.DataFrame(lines, columns=heads).set_index(heads[0]), heads[0])


TABLES = {
    of.__name__: of
    for of in (
        *(reported, compared, across, conditioned, recommended),
        *(conditionings, errors, wider, counts, precision, timed, whole_trainings, first_steps),
    )
}


def main() -> None:
    with one_line():
        for page in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else pages():
            page.write_text(written(page.read_text()))


if __name__ == "__main__":
    main()
