"""Evaluate runs: each evaluation's rows go into the run's folder."""

import math
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import get_type_hints

from hydra.utils import get_method, instantiate
from lightning.fabric import Fabric
from omegaconf import DictConfig

from dpi import plots
from dpi.atomic import check_space
from dpi.errors import UserError, printable
from dpi.evaluation.objective import check_objective
from dpi.evaluation.text import SHOWN, as_text
from dpi.frameworks import Framework
from dpi.frameworks.draw import network_evaluations
from dpi.precision import forbid_tf32
from dpi.processes import together
from dpi.progress import bars_closed
from dpi.runs.build import image_shape, set_memory_format
from dpi.runs.check import check
from dpi.runs.files import CHECKPOINT, cache_dir
from dpi.runs.lock import lock
from dpi.runs.record import find_runs, read_split
from dpi.runs.rows import Row, write_rows
from dpi.runs.run import Run, open_run

SCORE = (
    "eval.fidelity.samples= scores a file in place of a run: use it in evaluate.py, with "
    "eval=fidelity alone and no run="
)
"""What to do where that is given beside a run."""


def evaluate(
    run: Run, evals: Mapping[str, DictConfig], fabric: Fabric, out: Path | None = None
) -> dict[str, list[Row]]:
    """Evaluate a run, write the rows, print a table of each evaluation.

    Args:
        run: opened.
        evals: the section `eval` of train.yaml and evaluate.yaml: by name, what to call with
            which settings.
        fabric: launched; the processes and the device.
        out: a file for the rows; None for NAME.json in `run.evaluation`. What an interrupted
            evaluation has computed is kept in `cache_dir`, since a run may come from anywhere.

    Returns:
        The rows of each evaluation.

    Raises:
        UserError: whatever the user can fix.
    """
    set_memory_format(run.network, fabric.device)
    split = read_split(run.folder)
    header = {
        "run": run.folder.name,
        "step": run.step,
        "finished": run.finished,
        "weights": run.weights,
        "checkpoint": run.content,
        "images": split.fingerprint,
        "split": split.digest,
    }
    taken = f"step {run.step} of {run.cfg.training.steps}"
    progress = cache_dir() / "evaluations" / f"{run.folder.name}-{run.digest(split)}"
    results = {}
    for name, settings in evals.items():
        results[name] = rows = _measure(settings, run, fabric, progress)
        if not fabric.is_global_zero:
            continue
        if rows:
            text = as_text(rows, run.framework.num_scalars)
            print(f"\n{name} of {run.folder}/{run.checkpoint}, {taken}\n\n{text}\n")
        if rows or out is None:
            _write(out or run.evaluation / f"{name}.json", {"eval": name} | header, rows)
    return results


def evaluate_all(cfg: DictConfig) -> None:
    """Evaluate the run, the runs, or the file of samples that a composed evaluate.yaml names.

    Of several runs, one that cannot be evaluated does not stop the others.

    Raises:
        UserError: whatever the user can fix.
    """
    check_settings(cfg.eval)
    fabric = make_fabric(cfg.accelerator, cfg.devices, cfg.precision)
    samples = cfg.eval.get("fidelity", {}).get("samples")
    if samples is not None:
        if cfg.run is not None or list(cfg.eval) != ["fidelity"]:
            raise UserError(SCORE)
        fabric.launch()
        with together(fabric.strategy):
            rows = _measure(cfg.eval.fidelity, None, fabric, None)
        if fabric.is_global_zero:
            print(f"\nfidelity of {samples}\n\n{as_text(rows)}\n")
            if cfg.out:
                _write(Path(cfg.out), {"eval": "fidelity"}, rows)
        return
    folders = find_runs(cfg.run)
    failed = []
    with together(fabric.strategy):
        fabric.launch()
        for folder in folders:
            try:
                with bars_closed(), ExitStack() as locks:
                    run = _open(folder, cfg)
                    check_evaluations(run.cfg, run.framework, cfg.eval)
                    if cfg.out is None:
                        lock_evaluations(locks, folder, cfg.eval, fabric)
                    evaluate(run, cfg.eval, fabric, cfg.out and Path(cfg.out))
            except Exception as error:
                if len(folders) == 1:
                    raise
                if not isinstance(error, UserError):
                    traceback.print_exc()
                failed.append(folder)
                name = printable(str(folder))
                said = str(error) if name in str(error) else f"{name}: {error}"
                print(f"error: {said}", file=sys.stderr)
    if failed:
        raise UserError(f"{len(failed)} of {len(folders)} runs could not be evaluated, see above")


def lock_evaluations(locks: ExitStack, run: Path, names: Iterable[str], fabric: Fabric) -> None:
    """Hold the locks of these evaluations of a run in the first process, until `locks` is closed.

    Raises:
        UserError: in all processes, if another one holds one of them, or the folder cannot be
            written.
    """
    refused = ""
    try:
        for name in names if fabric.is_global_zero else ():
            locks.enter_context(lock(run / "evaluation", name))
    except UserError as error:
        refused = str(error)
    except OSError as error:
        refused = f"{error.filename}: {error.strerror}"
    if refused := fabric.broadcast(refused):
        raise UserError(refused)


def make_fabric(accelerator: str, devices: int | str | list[int], precision: str) -> Fabric:
    """A Fabric on these devices; UserError if they cannot be used here."""
    forbid_tf32()
    try:
        return Fabric(accelerator=accelerator, devices=devices, precision=precision)
    except (ValueError, TypeError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"this device cannot be used here: {line}") from error


def check_settings(evals: Mapping[str, DictConfig]) -> None:
    """Raise UserError for a setting that its evaluation does not have, or whose value is of another
    type or out of its range, as the evaluation's signature has it."""
    for name, settings in evals.items():
        made = get_method(settings._target_)
        kinds = get_type_hints(made, localns={"Fabric": Fabric}, include_extras=True)
        of_all = ("run", "fabric", "folder", "return")
        own = {key: kind for key, kind in kinds.items() if key not in of_all}
        check(settings, own, f"eval.{name}.", others=("_target_",))


def check_evaluations(
    cfg: DictConfig, framework: Framework, evals: Mapping[str, DictConfig]
) -> None:
    """Raise UserError where evaluations of a run would, perhaps hours later.

    Args:
        cfg, framework: of the run.
        evals: as those of `evaluate`.
    """
    check_settings(evals)
    for name, settings in evals.items():
        if "t" in settings:
            check_objective(name, settings, framework)
        if "solver" in settings:
            network_evaluations(framework, settings.steps, settings.solver, f"eval.{name}.")
        if "n" in settings:
            size = settings.n * math.prod(image_shape(cfg))  # uint8
            check_space(cache_dir(), size, f"eval.{name}.n={settings.n}")
        if settings.get("samples") is not None:
            raise UserError(SCORE)
        if name == "fidelity":
            from dpi.evaluation.fidelity import check_fidelity  # its packages take seconds

            check_fidelity(settings, cfg)


def _measure(
    settings: DictConfig, run: Run | None, fabric: Fabric, folder: Path | None
) -> list[Row]:
    measure = instantiate(settings, _partial_=True, _convert_="all")
    return measure(run=run, fabric=fabric, folder=folder)


def _write(path: Path, header: dict[str, object], rows: list[Row]) -> None:
    write_rows(path, header, rows)
    if rows:
        print(f"rows    {path}")
    panels: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.scalar is not None:
            panels.setdefault(row.metric, {})[row.scalar] = row.value
    if panels and len(next(iter(panels.values()))) > SHOWN:
        plots.plot_over_scalars(panels, path.with_suffix(".png"))
        print(f"curves  {path.with_suffix('.png')}")


def _open(folder: Path, cfg: DictConfig) -> Run:
    run = open_run(folder, cfg.trust, cfg.checkpoint)
    if cfg.data_path is not None:
        run.cfg.data.source.path = cfg.data_path
    if not run.finished and not cfg.unfinished and cfg.checkpoint == CHECKPOINT:
        raise UserError(
            f"{run.folder} is not finished, step {run.step} of {run.cfg.training.steps}: "
            "finish it, or evaluate it as it is with unfinished=true"
        )
    return run
