"""Checkpoints, written atomically; also when the process is asked to end."""

import signal
import threading
from pathlib import Path
from types import FrameType
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

    After a signal with which SLURM and others ask a process to end, it saves after the step that
    is being taken, and ends the training with status 143. Lightning would end it with status 0, or
    write a second checkpoint.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._saved: int | None = None
        self._asked: tuple[int, FrameType | None] | None = None
        self._requeue: Any = None

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._listen(trainer)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._listen(trainer)

    def _listen(self, trainer: L.Trainer) -> None:
        if self._saved is None:
            self._saved = trainer.global_step
        if threading.current_thread() is not threading.main_thread():
            return
        # In place of Lightning's handlers; it restores the original ones at the end.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            before = signal.signal(number, self._ask)
            if number == signal.SIGUSR2 and before != self._ask and callable(before):
                self._requeue = before  # submitit's, at a job's time limit

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number, frame

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: MicroBatch, *_: Any
    ) -> None:
        step = trainer.global_step
        if step == batch.step:  # gradients are still accumulated
            return
        # All processes save together.
        asked = trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False)
        if step % self.every == 0 or step == trainer.max_steps or asked:
            trainer.save_checkpoint(self.path)
            self._saved = step
        if asked:
            self._end(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        if self._asked:  # during the last validation
            self._end(trainer)

    def _end(self, trainer: L.Trainer) -> None:
        number, frame = self._asked or (signal.SIGTERM, None)
        self._asked = None
        if number == signal.SIGUSR2 and self._requeue:
            self._requeue(number, frame)  # ends the first process, and the job with it
            return
        name = signal.Signals(number).name
        said = f"{name}: saved at step {self._saved}, the same command resumes from it"
        raise Terminated(said if trainer.is_global_zero else "")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: Any
    ) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            print(
                f"\ninterrupted at step {trainer.global_step}: "
                f"the same command resumes from step {self._saved}"
            )
