"""One run from beginning to end, trained and then evaluated, by one process at a time."""

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from dpi.errors import UserError
from dpi.evaluation.evaluate import check_numbers, evaluate
from dpi.runs import CONFIG
from dpi.state import claim, read_state
from dpi.sweeps.plan import wanted
from dpi.training import fit

OUTPUT = "output.txt"
"""What a run has said, where several at once would talk across each other."""


def carry_out(cfg: DictConfig) -> None:
    """Train the run that a configuration describes and evaluate it as `evaluate` says.

    What is done already is not done again. In a sweep a failure is written into the run's state
    and the sweep goes on; alone it is raised.

    Raises:
        UserError: whatever the user can put right; another process works on this run.
    """
    hydra = HydraConfig.get()
    sweeping = hydra.mode == RunMode.MULTIRUN
    run = Path(cfg.run)
    if rank_zero_only.rank:  # the other processes of a distributed training
        fit(cfg)
        return
    try:
        with claim(run), _output(run, sweeping and "joblib" in hydra.launcher._target_):
            _claimed(cfg, run, sweeping)
    except UserError as error:
        if not sweeping:
            raise
        print(f"error: {error}", file=sys.stderr)
    except Exception:
        if not sweeping:
            raise
        traceback.print_exc()


def _claimed(cfg: DictConfig, run: Path, sweeping: bool) -> None:
    try:
        _evaluation(cfg, cfg.evaluate)  # mistakes show before hours of training
        fit(cfg)
        state = read_state(run)
        state.step, state.failed = max(state.step, cfg.training.steps), None
        missing = state.missing(wanted(cfg))
        if missing:
            state.doing = "evaluation"
            state.write(run)
            evaluate(_evaluation(cfg, missing))
            state.evaluated |= missing
        state.doing = state.seconds_left = None
        state.write(run)
    except Exception as error:
        if sweeping or (run / CONFIG).exists():
            state = read_state(run)
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            state.failed = kind + " ".join(str(error).split())
            state.write(run)
        raise


def _evaluation(cfg: DictConfig, names: Iterable[str]) -> DictConfig | None:
    """What evaluate.py would be told, for these evaluations of this run."""
    options = GlobalHydra.instance().config_loader().get_group_options("eval")
    unknown = set(names) - set(options)
    if unknown:
        raise UserError(f"evaluate={list(names)}: choose from {', '.join(sorted(options))}")
    if not names:
        return None
    evaluation = compose("evaluate", [f"eval=[{','.join(names)}]"])
    evaluation.run = cfg.run
    evaluation.accelerator, evaluation.devices = cfg.trainer.accelerator, 1
    evaluation.trust = True  # whatever code this run names has just been run
    for key, value in cfg.evaluation.items():
        if value is not None and key in evaluation:
            evaluation[key] = value
    check_numbers(evaluation)
    return evaluation


@contextmanager
def _output(run: Path, kept: bool) -> Iterator[None]:
    # The progress bars of several runs at once would write over each other.
    if not kept:
        yield
        return
    with (run / OUTPUT).open("a") as file, redirect_stdout(file), redirect_stderr(file):
        yield
