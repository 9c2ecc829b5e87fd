"""Evaluate a run: open it once, then each evaluation's rows go into its folder."""

from contextlib import nullcontext
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.fabric import Fabric
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from dpi import figures
from dpi.configuration import check
from dpi.errors import UserError
from dpi.evaluation.rows import SHOWN, Row, table, write_rows
from dpi.runs import Run, open_run
from dpi.state import claim

RANGES = {
    "batch_size": (int, 1, 2**31),
    "pictures": (int, 1, 2**31),
    "noise_seeds": (int, 1, 2**31),
    "every": (int, 1, 999),
    "n": (int, 2, 2**31),
    "grid": (int, 1, 500),
    "seed": (int, 0, 2**31),
    "steps": (int, 1, 1000),
    "repeats": (int, 1, 2**31),
}


def evaluate(cfg: DictConfig) -> None:
    """Evaluate as configs/evaluate.yaml says, write the rows, print a table of each evaluation.

    Rows go to evaluation/EVAL.json in the run's folder; what there is to go on with, if this is
    interrupted, lies beside them.

    Raises:
        UserError: whatever the user can put right.
    """
    check_numbers(cfg)
    run = None if _scores_a_file(cfg) else _open(cfg)
    fabric = _fabric(cfg)
    alone = run is not None and rank_zero_only.rank == 0
    with claim(run.folder / "evaluation") if alone else nullcontext():
        fabric.launch()
        _measure(cfg, run, fabric)


def check_numbers(cfg: DictConfig) -> None:
    """Raise UserError where a number makes no sense."""
    check(cfg, {key: kind for key, kind in RANGES.items() if key in cfg})


def _measure(cfg: DictConfig, run: Run | None, fabric: Fabric) -> None:
    header, place, folder = {}, None, None
    if run is not None:
        if fabric.device.type == "cuda":
            run.network.to(memory_format=torch.channels_last)
        header = {
            "run": run.folder.name,
            "step": run.step,
            "finished": run.finished,
            "weights": run.weights,
        }
        place = run.folder / "evaluation"
        folder = place / f"step{run.step}-{run.weights}"
    for name, evaluation in cfg.evals.items():
        measure = instantiate(evaluation, _partial_=True, _convert_="all")
        rows = measure(run=run, fabric=fabric, folder=folder)
        if not fabric.is_global_zero or not rows:
            continue
        print(f"\n{name} of {_described(run) if run else cfg.samples}\n\n{table(rows)}\n")
        path = Path(cfg.out) if cfg.out else place and place / f"{name}.json"
        if path:
            write_rows(path, {"eval": name} | header, rows)
            print(f"rows    {path}")
            _plot(rows, path.with_suffix(".png"))


def _plot(rows: list[Row], path: Path) -> None:
    panels: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.scalar is not None:
            panels.setdefault(row.metric, {})[row.scalar] = row.value
    if panels and len(next(iter(panels.values()))) > SHOWN:
        figures.plot_over_scalars(panels, path)
        print(f"curves  {path}")


def _scores_a_file(cfg: DictConfig) -> bool:
    if cfg.get("samples") is None:
        return False
    if cfg.run is not None or list(cfg.evals) != ["fidelity"]:
        raise UserError("samples= scores a file in place of a run: with eval=fidelity and no run=")
    return True


def _open(cfg: DictConfig) -> Run:
    if cfg.run is None:
        raise UserError("run= is missing: give a run's folder, as train.py names it")
    run = open_run(cfg.run, cfg.trust)
    if cfg.data_path is not None:
        run.cfg.data.source.path = cfg.data_path
    if not run.finished and not cfg.unfinished:
        raise UserError(
            f"{run.folder} is not finished, step {run.step} of {run.cfg.training.steps}: "
            "finish it, or evaluate it as it is with unfinished=true"
        )
    return run


def _fabric(cfg: DictConfig) -> Fabric:
    try:
        return Fabric(accelerator=cfg.accelerator, devices=cfg.devices, precision=cfg.precision)
    except (ValueError, TypeError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"this device cannot be used here: {line}") from error


def _described(run: Run) -> str:
    unfinished = "" if run.finished else f" of {run.cfg.training.steps}, UNFINISHED"
    return f"{run.folder}, step {run.step}{unfinished}"
