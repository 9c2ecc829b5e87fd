"""What every logger gets: what a run is, its samples and losses as it trains, what came of it."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import numpy as np
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig
from PIL import Image

from dpi import plots
from dpi.data import to_uint8
from dpi.errors import UserError
from dpi.frameworks.draw import start_noise
from dpi.interpolation import InterpolationFunction, Mixture
from dpi.runs.files import samples_path
from dpi.runs.identity import flatten, hyperparameters
from dpi.runs.rows import Row


def log_hyperparameters(loggers: Iterable[Logger], cfg: DictConfig) -> None:
    """Log what distinguishes the run, for filters and parallel coordinates."""
    values = hyperparameters(cfg)
    for logger in loggers:
        logger.log_hyperparams(values)
        if isinstance(logger, TensorBoardLogger):
            _begin_session(logger, flatten(values))


class SampleLogger(Callback):
    """After each validation logs its loss and draws samples, the learned lambda and loss curves.

    Args:
        cfg: the composed configuration. Samples go to run/samples, always from the same noise, and
            curves beside it.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.run, self.show = Path(cfg.run), cfg.training.show

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        shape = tuple(trainer.datamodule.images.shape[1:])
        noise = start_noise(0, range(self.show.num_images), shape).to(pl_module.device)
        samples = pl_module.framework.sample(pl_module.network, noise, self.show.num_steps)
        made = {}
        try:
            path = samples_path(self.run, trainer.global_step)
            plots.save_grid(to_uint8(samples), path)
            made["samples"] = path
        except UserError as error:  # the training goes on to where its loss is not finite
            print(f"warning: step {trainer.global_step}: {error}", file=sys.stderr)
        for module in pl_module.network.modules():
            if isinstance(module, InterpolationFunction | Mixture) and module.phi is not None:
                made["lambda"] = self.run / "lambda.png"
                plots.plot_lambda(module.table().detach().cpu().numpy(), made["lambda"])
        _log_images(trainer, made)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        # By Lightning's count of steps, from 0; it counts one more after the last step, where a run
        # that is extended has another validation.
        values = {"val_loss": trainer.callback_metrics["val_loss"].item()}
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step - 1)
            logger.save()
        logs = self.run.glob("log/version_*/metrics.csv")  # 9 before 10
        logs = sorted(logs, key=lambda path: (len(path.parent.name), path.parent.name))
        plots.plot_losses(logs, self.run / "losses.png")


def _log_images(trainer: L.Trainer, images: dict[str, Path]) -> None:
    for logger in trainer.loggers:
        for name, path in images.items():
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                image = np.asarray(Image.open(path).convert("RGB"))
                logger.experiment.add_image(name, image, trainer.global_step, dataformats="HWC")


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
    for logger in map(instantiate, cfg.logger.values() if overall else ()):
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
