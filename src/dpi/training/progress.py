"""How far, how well and how fast: the progress bar."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar


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
