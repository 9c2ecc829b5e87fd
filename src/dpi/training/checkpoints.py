"""Checkpoints, written atomically; also when the process is asked to end."""

import signal
import threading
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dpi.atomic import atomic
from dpi.errors import Terminated
from dpi.training.finite import check_finite
from dpi.training.module import MicroBatch


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file beside the checkpoint and renames it.

    Lightning's own goes through the system's temporary folder, and moving a file between file
    systems is a copy, which can be interrupted. One whose numbers are not finite is not written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        check_finite(checkpoint, Path(path))
        hint = "; the previous checkpoint is intact" if Path(path).exists() else ""
        with atomic(Path(path), hint) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # The zip writer's, which hides the disk's.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


class SaveLast(Checkpoint):
    """Saves one checkpoint, the last: every `every` optimizer steps and after the final one.

    After SIGTERM, with which SLURM and others ask a process to end, it saves after the step that
    is being taken, and ends the training with status 143. Lightning would end it with status 0.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._saved = trainer.global_step
        self._asked_to_end = False
        if threading.current_thread() is threading.main_thread():
            # In place of Lightning's handler; it restores the original one at the end.
            signal.signal(signal.SIGTERM, lambda number, _: self._ask_to_end(trainer, number))

    def _ask_to_end(self, trainer: L.Trainer, number: int) -> None:
        self._asked_to_end = True
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(number)  # the processes that this one has started

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: MicroBatch, *_: Any
    ) -> None:
        step = trainer.global_step
        if step == batch.step:  # gradients are still accumulated
            return
        # All processes save together.
        asked = trainer.strategy.reduce_boolean_decision(self._asked_to_end, all=False)
        if step % self.every == 0 or step == trainer.max_steps or asked:
            trainer.save_checkpoint(self.path)
            self._saved = step
        if asked and step < trainer.max_steps:
            raise Terminated(f"SIGTERM: saved at step {step}, the same command resumes from it")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: Any
    ) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            print(
                f"\ninterrupted at step {trainer.global_step}: "
                f"the same command resumes from step {self._saved}"
            )
