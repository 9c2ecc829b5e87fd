"""Progress: for the person who watches, and for `python status.py`."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from dpi.progress import Progress, close_bars
from dpi.runs.status import read_status


class Bar(Progress, Tqdm):
    """Lightning's bar, which pads numbers to one width."""


class ProgressBar(TQDMProgressBar):
    """One bar over all optimizer steps, with the losses and the images a second."""

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def init_train_tqdm(self) -> Bar:
        return Bar(
            desc="Training",
            total=self.total_train_batches,
            initial=self.trainer.global_step * self.trainer.accumulate_grad_batches,
            disable=self.is_disabled,
            dynamic_ncols=True,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )

    def on_train_epoch_start(self, *_: Any) -> None:
        """The stream of images has one epoch, and its bar exists already."""

    def init_validation_tqdm(self) -> Bar:
        return Bar(
            desc=self.validation_description,
            position=int(self.trainer.state.fn == "fit"),  # below the one of the training
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            bar_format=self.BAR_FORMAT,
        )

    def on_exception(self, *_: Any) -> None:
        close_bars()

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)
        return metrics


class ThroughputLogger(Callback):
    """Logs the images trained on a second, validation not counted.

    Args:
        batch_size: images an optimizer step.
        every: optimizer steps between two entries of the log.
    """

    def __init__(self, batch_size: int, every: int) -> None:
        self.batch_size, self.every = batch_size, every

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._since = (time.monotonic(), trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._since = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        then, step = self._since
        if trainer.global_step - step >= self.every:
            now = time.monotonic()
            speed = (trainer.global_step - step) * self.batch_size / (now - then)
            pl_module.log("images/s", speed, prog_bar=True)
            self._since = (now, trainer.global_step)


class StatusWriter(Callback):
    """Writes the step, the time taken and the time left into the run's status, also with each
    checkpoint.

    Args:
        run: the run's folder.
        every: optimizer steps between two writes.
    """

    def __init__(self, run: Path, every: int) -> None:
        self.run, self.every = run, every

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._since = (time.monotonic(), trainer.global_step)
        self._seconds = read_status(self.run).seconds
        self._write(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            self._write(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, *_: Any) -> None:
        self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        then, first = self._since
        seconds, taken = time.monotonic() - then, trainer.global_step - first
        left = (trainer.max_steps - trainer.global_step) * seconds / taken if taken else None
        status = read_status(self.run)
        status.step, status.seconds_left, status.stage = trainer.global_step, left, "training"
        status.seconds = self._seconds + seconds
        status.failed, status.evaluated = None, {}
        status.write(self.run)
