"""Checkpoints, written atomically."""

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dpi.errors import UserError
from dpi.training.finite import check_finite


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file beside the checkpoint and renames it.

    Lightning's own goes through the system's temporary folder, and moving a file between file
    systems is a copy, which can be interrupted. One whose numbers are not finite is not written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        check_finite(checkpoint, Path(path))
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
                f"({str(error).splitlines()[0]}); the previous one is intact"
            ) from error


class SaveLast(Checkpoint):
    """Saves one checkpoint, the last: every `every` optimizer steps and after the final one."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        due = step % self.every == 0 or step == trainer.max_steps
        if not due or step == self._saved:
            return
        trainer.save_checkpoint(self.path)
        self._saved = step

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: Any
    ) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            print(
                f"\ninterrupted at step {trainer.global_step}: "
                f"the same command resumes from step {self._saved}"
            )
