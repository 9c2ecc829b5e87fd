"""How far a training is and how fast: on the screen, in the log, and for `python status.py`."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from dpi.progress import Progress
from dpi.runs.status import read_status
from dpi.training.module import MicroBatch


class Pace(Callback):
    """Shows a bar over all optimizer steps with the losses, logs the images trained on a second,
    validation not counted, and writes step, time taken and time left into the run's status.

    Args:
        cfg: the composed configuration. The status is written with each entry of the log, and with
            each checkpoint.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.run, self.every = Path(cfg.run), cfg.training.show.log_every
        self.batch_size = cfg.training.batch_size
        self.bar = cfg.trainer.get("enable_progress_bar", True)

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._first = self._since = (time.monotonic(), trainer.global_step)
        self._seconds = read_status(self.run).seconds
        self._bar = Progress(
            desc="Training",
            total=trainer.max_steps,
            initial=trainer.global_step,
            disable=not (self.bar and trainer.is_global_zero),
            smoothing=0,
        )
        self._write(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, out: Any, batch: MicroBatch, *_: Any
    ) -> None:
        step, (then, before) = trainer.global_step, self._since
        if step == batch.step:  # gradients are still accumulated
            return
        if step - before >= self.every:
            now = time.monotonic()
            speed = (step - before) * self.batch_size / (now - then)
            pl_module.log("images/s", speed, prog_bar=True)
            self._since = (now, step)
        if step % self.every == 0:
            self._bar.set_postfix(trainer.progress_bar_metrics, refresh=False)
            self._write(trainer)
        self._bar.update()

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._since = (time.monotonic(), trainer.global_step)

    def on_save_checkpoint(self, trainer: L.Trainer, *_: Any) -> None:
        self._write(trainer)

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._bar.set_postfix(trainer.progress_bar_metrics, refresh=False)
        self._bar.close()

    def _write(self, trainer: L.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        then, first = self._first
        seconds, taken = time.monotonic() - then, trainer.global_step - first
        left = (trainer.max_steps - trainer.global_step) * seconds / taken if taken else None
        status = read_status(self.run)
        status.step, status.seconds_left, status.stage = trainer.global_step, left, "training"
        status.seconds = self._seconds + seconds
        status.failed, status.evaluated, status.checkpoint = None, {}, ""
        status.write(self.run)
