"""One run from beginning to end, trained and then evaluated; and what a sweep says at its end."""

import json
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from hydra import compose, initialize_config_dir
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: pip install 'dpi[train]'", name=error.name) from None
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from dpi.atomic import atomic_write
from dpi.cli import register_resolvers
from dpi.errors import Excluded, Terminated, UserError
from dpi.groups import CONFIGS
from dpi.mistakes import check_words, explain
from dpi.progress import bars_closed
from dpi.runs.check import check_pictures, check_trainer, check_training
from dpi.runs.files import CHECKPOINT, CONFIG, checkpoint_digest, initial_digits, initial_path
from dpi.runs.identity import as_typed
from dpi.runs.images import Images
from dpi.runs.lock import LOCK, lock
from dpi.runs.record import check_identity
from dpi.runs.status import is_trained, missing_evaluations, read_status

if TYPE_CHECKING:  # PyTorch takes seconds
    from torch import nn

    from dpi.frameworks import Framework
    from dpi.runs.run import Run


def train(overrides: Iterable[str]) -> "Run":
    """Train and evaluate a run as train.py does, and open it.

        run = train(["data=folder", "data.path=faces.zip", "scale=mini"])
        images = run.framework.sample(run.network, torch.randn(4, 3, 16, 16))

    Args:
        overrides: what is written behind `python train.py`, but for a sweep.

    Raises:
        UserError: whatever the user can fix, as early as it is known.
    """
    if isinstance(overrides, str):
        raise UserError(f"train takes a list: train({overrides.split()})")
    words = list(map(str, overrides))
    check_words("train", words)
    register_resolvers()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", words, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        if cfg.hydra.mode == RunMode.MULTIRUN:
            raise UserError("a sweep is trained on the command line: python train.py -m ...")
        if _is_check():
            raise UserError("experiment=check keeps no run: python train.py experiment=check ...")
        with open_dict(cfg):
            del cfg["hydra"]
        _train(cfg)
    except Exception as error:
        if explained := explain(error, "train", words):
            raise UserError(explained) from error
        raise
    from dpi.runs.run import open_run

    return open_run(cfg.run, trust=True)


def train_job(cfg: DictConfig) -> None:
    """Train and evaluate the run that a configuration describes, or what is missing of it.

    In a sweep a failure is recorded and the sweep continues; alone it is raised.

    Args:
        cfg: a composed configs/train.yaml.

    Raises:
        UserError: whatever the user can fix, as early as it is known.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        _train(cfg)
        return
    job = {"name": f"job {hydra.job.num}", "outcome": "done", "reason": ""}
    try:
        job["name"] = Path(str(cfg.run)).name
        with bars_closed():
            _train(cfg)
    except Excluded as error:
        print(f"skipped: {error}", flush=True)
        job["outcome"] = "skipped"
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        job |= {"outcome": "failed", "reason": _one_line(error)}
        print(f"error: {job['name']}: {job['reason']}", file=sys.stderr, flush=True)
    atomic_write(Path(hydra.sweep.dir, "jobs", f"{hydra.job.num}.json"), json.dumps(job))


def _train(cfg: DictConfig) -> None:
    if _is_check():
        swept = HydraConfig.get().sweeper.get("params") or {}
        if swept.get("experiment", "check") != "check":
            raise UserError(
                f"experiment=check would replace experiment={swept['experiment']} of this sweep: "
                "give the sweep's options without sweep="
            )
        cfg.training.warmup_steps = 0  # of two steps
    check_training(cfg)
    run = Path(cfg.run)
    print(f"{run}: looking at its settings and images", flush=True)
    _fill_in(cfg.training)
    images = Images(cfg)
    check_identity(cfg, run, images)
    missing, trained = missing_evaluations(cfg), is_trained(cfg)
    if trained and not missing:
        status = read_status(run)
        if status.failed:  # another command, which was refused
            status.failed = None
            status.write(run)
        print(f"{run} is finished: {status.step} steps (more training.steps= extend it)")
        return
    check_trainer(cfg)
    # PyTorch takes seconds and Lightning ten: only once the configuration is known to be good as
    # far as can be said without them.
    import torch

    from dpi.frameworks.draw import network_evaluations
    from dpi.runs.build import build, check_shapes

    check_shapes(cfg)
    torch.manual_seed(cfg.seed)
    framework, network = build(cfg)
    network_evaluations(framework, cfg.training.show.num_steps, section="training.show.num_")
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from dpi.evaluation.evaluate import check_evaluations
    from dpi.training.fit import fit

    evals = {name: cfg.eval[name] for name in missing}
    check_evaluations(cfg, framework, evals)
    check_pictures(evals, len(images.split.held_out))
    with _session(cfg, images):
        if not trained:
            fit(cfg, framework, network, images)
        if rank_zero_only.rank:  # another process of a distributed training
            return
        _evaluate(cfg, run, framework, network, missing)
    if HydraConfig.get().mode != RunMode.MULTIRUN and run.exists():
        _print_next(cfg, run, framework)


def _fill_in(training: DictConfig) -> None:
    """What the settings lead to, and what is compared when the run is resumed."""
    if training.lr_schedule == "cosine" and training.lr_decay_steps is None:
        training.lr_decay_steps = training.steps
    training.init_weights = None
    if training.init_from:
        training.init_weights = initial_digits(training.init_from)
        if training.init_weights is None:
            path = initial_path(training.init_from)
            raise UserError(f"training.init_from={training.init_from}: {path} does not exist")


@contextmanager
def _session(cfg: DictConfig, images: Images) -> Iterator[None]:
    """Around a training and what follows it: no other process does the same, and status.json says
    why it failed."""
    run = Path(cfg.run)
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from dpi.training.loggers import wandb_finished

    if rank_zero_only.rank:
        yield
        return
    with lock(run), _checked(run), wandb_finished():
        check_identity(cfg, run, images)  # another may have begun the run since
        try:
            yield
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN or (run / CONFIG).exists():
                status = read_status(run)
                status.failed = _one_line(error)
                status.write(run)
            raise


def _is_check() -> bool:
    return HydraConfig.get().runtime.choices.get("experiment") == "check"


@contextmanager
def _checked(run: Path) -> Iterator[None]:
    """Around a run: of experiment=check, which only tries a configuration, nothing is kept."""
    if not _is_check():
        yield
        return
    if any(path.name != LOCK for path in run.iterdir()):
        raise UserError(
            f"experiment=check deletes its run, and {run} holds files: delete them, or give "
            "another run="
        )
    try:
        yield
        print(f"{run}: it works, and was deleted")
    except Terminated as error:
        error.message = f"{run}: stopped, and was deleted"
        raise
    finally:
        for path in run.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()


def _evaluate(
    cfg: DictConfig,
    run: Path,
    framework: "Framework",
    network: "nn.Module",
    missing: dict[str, dict[str, Any]],
) -> None:
    import torch

    from dpi.evaluation.evaluate import evaluate, lock_evaluations, make_fabric
    from dpi.runs.run import load_run
    from dpi.training.loggers import log_results

    status = read_status(run)
    status.step, status.failed = max(status.step, cfg.training.steps), None
    status.checkpoint = checkpoint_digest(run / CHECKPOINT)
    if missing:
        status.stage, status.seconds_left = "evaluation", None
        status.write(run)
        devices = cfg.trainer.get("devices")
        device = [devices[0]] if OmegaConf.is_list(devices) else 1
        fabric = make_fabric(cfg.trainer.accelerator, device, "32-true")
        # The averaged weights, as they were saved; not compiled, as evaluate.py has it.
        with ExitStack() as locks, torch.compiler.set_stance("force_eager"):
            lock_evaluations(locks, run, missing, fabric)
            trained = load_run(run, cfg, built=(framework, network))
            evals = {name: cfg.eval[name] for name in missing}
            log_results(cfg, evaluate(trained, evals, fabric))
        status.evaluated |= missing
    status.stage = status.seconds_left = None
    status.write(run)


def _print_next(cfg: DictConfig, run: Path, framework: "Framework") -> None:
    from dpi.frameworks import VPDiffusion
    from dpi.runs.trust import foreign_code

    shown = {
        "samples": max(run.glob("samples/step_*.png"), default=None),
        "lambda": run / "lambda.png",
        "losses": run / "losses.png",
    }
    lines = [f"{name:9}{path}" for name, path in shown.items() if path and path.exists()]
    name = "denoising" if isinstance(framework, VPDiffusion) else "objective"
    effort = HydraConfig.get().runtime.choices["effort"]
    trust = " trust=true" if foreign_code(cfg) else ""
    typed = as_typed("run", str(run))
    print("\n".join(["", *lines, "", f"next     python sample.py {typed} n=64{trust}"]))
    print(f"         python evaluate.py {typed} eval={name} effort={effort}{trust}")


def _one_line(error: Exception) -> str:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())


class SweepSummary(Callback):
    """At the end of a sweep says what came of each run; exits with status 1 if one failed.

    No other sweep has its folder.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            Path(config.hydra.sweep.dir, "jobs").mkdir(parents=True)
        except FileExistsError:
            folder = config.hydra.sweep.dir
            sys.exit(f"error: hydra.sweep.dir={folder} is of another sweep: give another, or none")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        paths = Path(config.hydra.sweep.dir).glob("jobs/*.json")
        jobs = [json.loads(path.read_text()) for path in sorted(paths)]
        outcomes = Counter(job["outcome"] for job in jobs)
        said = [
            f"{outcomes[name]} {name}" for name in ("done", "skipped", "failed") if outcomes[name]
        ]
        print(f"\n{len(jobs)} run{'s' * (len(jobs) != 1)}: {', '.join(said)}")
        if outcomes["failed"]:
            failed = (job for job in jobs if job["outcome"] == "failed")
            lines = [f"failed: {job['name']}: {job['reason']}" for job in failed]
            lines.append("error: not all runs are done; the same command retries the failed ones")
            sys.exit("\n".join(lines))
