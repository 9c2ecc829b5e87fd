"""One run from beginning to end, trained and then evaluated; and what a sweep says at its end."""

import json
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dpi.atomic import atomic_write
from dpi.data import read_duplicates, split
from dpi.errors import Excluded, Terminated, UserError
from dpi.processes import stopped_by
from dpi.progress import bars_closed
from dpi.runs.check import check_pictures, check_trainer, check_training
from dpi.runs.files import CHECKPOINT, CHECKS, CONFIG, OUTPUT, average_path, samples_path
from dpi.runs.images import open_source
from dpi.runs.lock import LOCK, lock
from dpi.runs.record import check_identity
from dpi.runs.rows import is_kept
from dpi.runs.status import read_status


def train(cfg: DictConfig) -> None:
    """Train and evaluate the run that a configuration describes, or what is missing of it.

    In a sweep a failure is recorded and the sweep continues; alone it is raised.

    Args:
        cfg: a composed configs/train.yaml.

    Raises:
        UserError: whatever the user can fix, as early as it is known.
    """
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        check_training(cfg)
        _train(cfg)
        return
    name = f"job {HydraConfig.get().job.num}"
    try:
        check_training(cfg)
        name = Path(cfg.run).name
        with _beside_others(cfg, name), bars_closed():
            _train(cfg)
        if _is_parallel(HydraConfig.get()):
            print(f"{name}: done", flush=True)
        _record_outcome(name, "done")
    except Excluded as error:
        print(f"skipped: {error}", flush=True)
        _record_outcome(name, "skipped")
    except Terminated as error:
        hydra = HydraConfig.get()
        if not _is_parallel(hydra):
            raise
        if not _stop_file(hydra).exists():
            atomic_write(_stop_file(hydra), str(error.number))
        if error.message:
            print(f"error: {name}: {error.message}", file=sys.stderr, flush=True)
        _record_outcome(name, "stopped")
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        print(f"error: {name}: {_one_line(error)}", file=sys.stderr, flush=True)
        _record_outcome(name, "failed", _one_line(error))


def _train(cfg: DictConfig) -> None:
    run = Path(cfg.run)
    source = open_source(cfg)
    duplicates = read_duplicates(cfg.data.get("duplicates"), source)
    # Refuses too few images.
    parts = split(len(source), cfg.data.held_out, cfg.data.split_seed, duplicates)
    check_pictures(cfg.eval, len(parts.held_out))
    check_identity(cfg, run, source, parts)
    missing = _missing(cfg, run)
    if _is_trained(cfg, run) and not missing:
        status = read_status(run)
        if status.failed:  # another command, which was refused
            status.failed = None
            status.write(run)
        print(f"{run} is finished: {status.step} steps (more training.steps= extend it)")
        return
    check_trainer(cfg)
    # PyTorch takes seconds and Lightning ten: each only once the configuration is known to be good
    # as far as can be said without it.
    from dpi.runs.build import check_network

    check_network(cfg)
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from dpi.evaluation.evaluate import check_model, check_settings
    from dpi.training import fit
    from dpi.training.loggers import wandb_finished

    check_settings(cfg.eval)
    check_model(cfg)
    if rank_zero_only.rank:  # the other processes of a distributed training
        fit(cfg, source)
        return
    with lock(run), _checked(run), wandb_finished():
        try:
            if "fidelity" in missing:
                from dpi.evaluation.fidelity import check_fidelity

                check_fidelity(cfg.eval.fidelity)
            if not _is_trained(cfg, run):
                fit(cfg, source)
            _evaluate(cfg, run, missing)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN or (run / CONFIG).exists():
                status = read_status(run)
                status.failed = _one_line(error)
                status.write(run)
            raise
    if HydraConfig.get().mode != RunMode.MULTIRUN and run.exists():
        _print_next(cfg, run)


@contextmanager
def _checked(run: Path) -> Iterator[None]:
    """Around a run: of one that only checks a configuration nothing is kept."""
    try:
        yield
        if CHECKS in run.parents:
            print(f"{run}: it works, and was deleted")
    except Terminated as error:
        if CHECKS in run.parents:
            error.message = f"{run}: stopped, and was deleted"
        raise
    finally:
        if CHECKS in run.parents:
            for path in run.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in (LOCK, OUTPUT):
                    path.unlink()


def _is_trained(cfg: DictConfig, run: Path) -> bool:
    """Whether the run has taken its steps, ended with its samples, and kept its checkpoints."""
    status, path = read_status(run), run / CHECKPOINT
    if status.step < cfg.training.steps or not samples_path(run, status.step).exists():
        return False
    if not all(average_path(run, decay).exists() for decay in cfg.training.show.keep_ema):
        return False
    return path.exists() and path.stat().st_size == status.checkpoint_bytes


def _missing(cfg: DictConfig, run: Path) -> dict[str, dict[str, Any]]:
    """The evaluations that the run lacks with these settings, at the step that it trains to."""
    evaluated = read_status(run).evaluated
    wanted = {
        name: {"training_steps": cfg.training.steps, **settings}
        for name, settings in OmegaConf.to_container(cfg.eval, resolve=True).items()
    }
    return {
        name: how
        for name, how in wanted.items()
        if evaluated.get(name) != how or not is_kept(run / "evaluation", name)
    }


def _evaluate(cfg: DictConfig, run: Path, missing: dict[str, dict[str, Any]]) -> None:
    from dpi.evaluation.evaluate import evaluate, evaluation_locks, make_fabric
    from dpi.runs.run import load_run
    from dpi.training.loggers import log_results

    status = read_status(run)
    status.step, status.failed = max(status.step, cfg.training.steps), None
    status.checkpoint_bytes = (run / CHECKPOINT).stat().st_size
    if missing:
        status.stage, status.seconds_left = "evaluation", None
        status.write(run)
        fabric = make_fabric(cfg.trainer.accelerator, 1, "32-true")
        with evaluation_locks(run, missing):
            # Not the configuration in the folder, which may be from elsewhere.
            evals = {name: cfg.eval[name] for name in missing}
            log_results(cfg, evaluate(load_run(run, cfg), evals, fabric))
        status.evaluated |= missing
    status.stage = status.seconds_left = None
    status.write(run)


def _print_next(cfg: DictConfig, run: Path) -> None:
    from dpi.frameworks import VPDiffusion
    from dpi.runs.build import foreign_code

    shown = {
        "samples": max(run.glob("samples/step_*.png"), default=None),
        "lambda": run / "lambda.png",
        "losses": run / "losses.png",
    }
    lines = [f"{name:9}{path}" for name, path in shown.items() if path and path.exists()]
    name = "denoising" if isinstance(instantiate(cfg.framework), VPDiffusion) else "objective"
    effort = HydraConfig.get().runtime.choices["effort"]
    trust = " trust=true" if foreign_code(cfg) else ""
    print("\n".join(["", *lines, "", f"next     python sample.py run={run} n=64{trust}"]))
    print(f"         python evaluate.py run={run} eval=[{name}] effort={effort}{trust}")


def _one_line(error: Exception) -> str:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())


def _is_parallel(hydra: HydraConf) -> bool:
    return "joblib" in hydra.launcher._target_


@contextmanager
def _beside_others(cfg: DictConfig, name: str) -> Iterator[None]:
    hydra = HydraConfig.get()
    if not _is_parallel(hydra):
        yield
        return
    with stopped_by(_stop_file(hydra)):
        # The progress bars of runs that share a terminal would overwrite each other.
        path = Path(cfg.run) / OUTPUT
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"{name}: started, output in {path}", flush=True)
        with path.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
            try:
                yield
            except Exception as error:
                print(f"error: {_one_line(error)}", file=file)
                raise


def _stop_file(hydra: HydraConf) -> Path:
    """Once it exists, the runs of this sweep that are executed side by side save and end. It holds
    the number of the signal that was the first."""
    return Path(hydra.sweep.dir) / "stop"


def _record_outcome(name: str, outcome: str, reason: str = "") -> None:
    hydra = HydraConfig.get()
    record = {"name": name, "outcome": outcome, "reason": reason}
    atomic_write(Path(hydra.sweep.dir) / "jobs" / f"{hydra.job.num}.json", json.dumps(record))


class SweepSummary(Callback):
    """At the end of a sweep says what came of each run; exits with status 1 if one failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if _is_parallel(config.hydra):
            # joblib would kill the runs: they save, and it waits for them.
            path = _stop_file(config.hydra)

            def stop(number: int, _: Any) -> None:
                print("stopping: each run saves after its step", file=sys.stderr, flush=True)
                atomic_write(path, str(number))

            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, stop)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        paths = Path(config.hydra.sweep.dir).glob("jobs/*.json")
        jobs = [json.loads(path.read_text()) for path in sorted(paths)]
        failed = [job for job in jobs if job["outcome"] == "failed"]
        counts = {
            outcome: sum(job["outcome"] == outcome for job in jobs)
            for outcome in ("done", "skipped", "failed", "stopped")
        }
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        print(f"\n{len(jobs)} run{'s' * (len(jobs) != 1)}: {said}")
        if counts["stopped"]:
            number = signal.Signals(int(_stop_file(config.hydra).read_text()))
            said = f"{number.name}: the sweep was stopped; the same command resumes it"
            raise Terminated(said, number)
        if failed:
            lines = [f"failed: {job['name']}: {job['reason']}" for job in failed]
            lines.append("error: not all runs are done; the same command retries the failed ones")
            sys.exit("\n".join(lines))
