"""How far, how well and how fast: the progress bar, and the run's state for others to read."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

from dpi.state import State


class Progress(TQDMProgressBar):
    """One bar over all optimizer steps, with the loss and the pictures trained on a second."""

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def init_train_tqdm(self) -> Any:
        bar = super().init_train_tqdm()
        bar.total = self.total_train_batches
        bar.initial = bar.n = self.trainer.global_step * self.trainer.accumulate_grad_batches
        bar.set_description("Training")
        return bar

    def on_train_epoch_start(self, *_: Any) -> None:
        """The stream of pictures has one epoch; its bar is there already."""

    def init_validation_tqdm(self) -> Any:
        bar = super().init_validation_tqdm()
        bar.leave = False
        return bar

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)
        return metrics


class Speed(Callback):
    """Logs the pictures trained on a second, between one line of the log and the next."""

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
            pl_module.log("pictures/s", speed, prog_bar=True)
            self._since = (now, trainer.global_step)


class Tell(Callback):
    """Writes the step, and the time that is left, into the run's state."""

    def __init__(self, run: Path, every: int) -> None:
        self.run, self.every = run, every

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._since = (time.monotonic(), trainer.global_step)
        self._write(trainer, None)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step % self.every and step != trainer.max_steps:
            return
        then, first = self._since
        seconds_a_step = (time.monotonic() - then) / max(step - first, 1)
        self._write(trainer, (trainer.max_steps - step) * seconds_a_step)

    def _write(self, trainer: L.Trainer, seconds_left: float | None) -> None:
        if trainer.is_global_zero:
            State(trainer.global_step, seconds_left, "training").write(self.run)
