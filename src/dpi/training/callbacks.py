"""What happens beside the optimizer steps: checkpoints, the progress bar, pictures."""

import math
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from PIL import Image

from dpi import figures
from dpi.errors import UserError
from dpi.interpolation import InterpolationFunction
from dpi.sampling import start_noise


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint and then takes its place: it is whole at any moment.

    Lightning's own goes through the system's temporary folder, and moving a file between file
    systems is a copy, which can be cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        partial = Path(f"{path}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:
            # torch.save reports a full disk as a RuntimeError of its zip writer.
            partial.unlink(missing_ok=True)
            raise UserError(
                f"the checkpoint {path} could not be written, is the disk full? "
                f"({str(error).splitlines()[0]}); the one before it is whole"
            ) from error


class SaveLast(Checkpoint):
    """Keeps one checkpoint, the last: every `every` optimizer steps and after the final one."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._saved = -1

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        step = trainer.global_step
        due = step % self.every == 0 or step == trainer.max_steps
        if not due or step == self._saved or trainer.fit_loop._should_accumulate():
            return
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step}: lower training.lr, or try "
                f"trainer.precision=32-true; {self.path} holds what came before"
            )
        trainer.save_checkpoint(self.path)
        self._saved = step


class Progress(TQDMProgressBar):
    """One bar over all optimizer steps, with the loss and the pictures trained on a second."""

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def on_train_epoch_start(self, trainer: L.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.initial = trainer.global_step * trainer.accumulate_grad_batches
        self.train_progress_bar.set_description("Training")

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


class Show(Callback):
    """After each validation draws samples, the learned lambda and the loss curves.

    Goes before the weight averaging in the list of callbacks: at the end of a validation it must
    come before the averaged weights are taken out of the network again.

    Args:
        run: the run's folder; samples go to run/samples, curves beside it.
        num_pictures: samples in the grid, the same noise each time.
        num_steps: network evaluations a sample; few, for this is a glance.
    """

    def __init__(self, run: Path, num_pictures: int, num_steps: int) -> None:
        self.run, self.num_pictures, self.num_steps = run, num_pictures, num_steps

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        size = trainer.datamodule.pictures.shape[-1]
        noise = start_noise(0, range(self.num_pictures), size).to(pl_module.device)
        samples = pl_module.framework.sample(pl_module.network, noise, self.num_steps)
        grid = self.run / "samples" / f"step_{trainer.global_step:07d}.png"
        figures.save_grid(figures.to_uint8(samples), grid)
        shown = {"samples": grid}
        for module in pl_module.network.modules():
            if isinstance(module, InterpolationFunction) and module.phi is not None:
                shown["lambda"] = self.run / "lambda.png"
                figures.plot_lambda(module, shown["lambda"])
        _log_pictures(trainer, shown)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()  # the held-out loss has only just been logged
        figures.plot_losses(sorted(self.run.glob("log/*/metrics.csv")), self.run / "losses.png")


def _log_pictures(trainer: L.Trainer, pictures: dict[str, Path]) -> None:
    for logger in trainer.loggers:
        for name, path in pictures.items():
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                picture = np.asarray(Image.open(path).convert("RGB"))
                step = trainer.global_step
                logger.experiment.add_image(name, picture, step, dataformats="HWC")
