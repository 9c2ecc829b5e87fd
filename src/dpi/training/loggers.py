"""What a run is, and what came of it, in every logger: to filter runs, and compare them."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from omegaconf import DictConfig

from dpi.runs.identity import flatten, hyperparameters
from dpi.runs.rows import Row


def make_loggers(cfg: DictConfig) -> list[Logger]:
    """Lightning's, as the section `logger` of train.yaml has them."""
    return [instantiate(logger) for logger in cfg.logger.values()]


def log_hyperparameters(loggers: Iterable[Logger], cfg: DictConfig) -> None:
    """Log what distinguishes the run, for filters and parallel coordinates."""
    values = hyperparameters(cfg)
    for logger in loggers:
        logger.log_hyperparams(values)
        if isinstance(logger, TensorBoardLogger):
            _begin_session(logger, flatten(values))


def log_results(cfg: DictConfig, results: Mapping[str, Iterable[Row]]) -> None:
    """Log the overall numbers of evaluations, as EVAL/METRIC at the last step.

    W&B has them in the run's summary, TensorBoard beside the hyperparameters. The CSV log is of
    the training alone: in the run's folder they are in evaluation/EVAL.json.

    Args:
        cfg: the run's configuration.
        results: the rows of each evaluation.
    """
    overall = {
        f"{name}/{row.metric}": row.value
        for name, rows in results.items()
        for row in rows
        if row.scalar is None
    }
    # That is the aim: the run that the training has begun.
    warnings.filterwarnings("ignore", ".*a wandb run already in progress.*")
    for logger in make_loggers(cfg) if overall else []:
        if not isinstance(logger, CSVLogger):
            logger.log_metrics(overall, cfg.training.steps)
            logger.finalize("success")


@contextmanager
def wandb_finished() -> Iterator[None]:
    """End the W&B run with this one; Lightning would log the next one of a sweep into it, too.

    And W&B's service, which takes every path from the working directory that it was started in.
    """
    failed = 1
    try:
        yield
        failed = 0
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish(failed)
            sys.modules["wandb"].teardown()


def _begin_session(logger: TensorBoardLogger, values: dict[str, object]) -> None:
    # Without the list of metrics that Lightning would write: TensorBoard then shows every scalar of
    # the run, those of later evaluations, too.
    from torch.utils.tensorboard.summary import hparams

    shown = {k: v if isinstance(v, int | float | str) else str(v) for k, v in values.items()}
    _, session, _ = hparams(shown, {})
    logger.experiment.file_writer.add_summary(session)
