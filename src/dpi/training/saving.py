"""Checkpoints, written atomically; also when the process is asked to end."""

import math
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig

from dpi.atomic import atomic
from dpi.errors import Terminated, UserError
from dpi.runs.checkpoint import KEYS, load_checkpoint
from dpi.runs.files import BEST, CHECKPOINT, average_path, kept_path
from dpi.training.averaging import FURTHER
from dpi.training.module import MicroBatch, diverged

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What Ctrl-C, `timeout`, SLURM and submitit send to a process that is to end."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file beside the checkpoint and renames it.

    Lightning's own goes through the system's temporary folder, and moving a file between file
    systems is a copy, which can be interrupted. One whose numbers are not finite is not written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        if not _is_finite(checkpoint):
            step = checkpoint["global_step"]
            raise UserError(diverged(f"the weights are not finite at step {step}", path))
        hint = "; the previous checkpoint is intact" if path.exists() else ""
        with atomic(path, hint) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # The zip writer's, which hides the disk's.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


def _is_finite(checkpoint: Mapping[str, Any]) -> bool:
    """Whether all numbers of the weights and of the optimizer's state are finite."""
    states = [checkpoint["state_dict"], checkpoint["current_model_state"]]
    for optimizer in checkpoint.get("optimizer_states", []):
        states += optimizer["state"].values()
    tensors = [t for state in states for t in state.values() if t.is_floating_point()]
    return bool(torch.stack([t.isfinite().all() for t in tensors]).all())


class SaveCheckpoints(Checkpoint):
    """Saves the last checkpoint: every `every` optimizer steps and after the final one. Others are
    kept beside it, at steps at which it is saved, too.

    After Ctrl-C, or a signal with which SLURM and others ask a process to end, it saves after the
    step that is being taken, and ends the training with status 130 or 143. Lightning would end it
    with status 0 or 1, or write a second checkpoint.

    Args:
        cfg: the composed configuration. Of `training.show`: save_every, between two last
            checkpoints; keep_every, between two that are kept, `kept_path`; keep_best, whether that
            of the validation with the lowest loss is, BEST.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.run, self.show = Path(cfg.run), cfg.training.show
        self.path = self.run / CHECKPOINT
        validated = min(self.show.every, cfg.training.steps) if self.show.keep_best else None
        every = (self.show.save_every, self.show.keep_every, validated)
        self.every = [n for n in every if n is not None]
        self._best: float | None = None
        self._asked: int | None = None
        self._requeue = signal.getsignal(signal.SIGUSR2)  # submitit's, at a job's time limit

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        def ask(number: int, _: Any) -> None:
            self._asked = number
            if number == signal.SIGINT:
                signal.signal(number, signal.default_int_handler)
                if trainer.is_global_zero:
                    print("saving after this step; Ctrl-C again ends at once", file=sys.stderr)

        # In place of Lightning's handlers; it restores the original ones at the end.
        for number in ASKING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, ask)

    on_validation_start = on_train_start

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: MicroBatch, *_: Any
    ) -> None:
        step = trainer.global_step
        if step == batch.step:  # gradients are still accumulated
            return
        # All processes save together.
        asked = trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False)
        if any(step % n == 0 for n in self.every) or step == trainer.max_steps or asked:
            trainer.save_checkpoint(self.path)
        if self.show.keep_every is not None and step % self.show.keep_every == 0:
            trainer.save_checkpoint(kept_path(self.run, step))
        if asked:
            self._end(trainer)

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        if not self.show.keep_best or not trainer.is_global_zero:
            return
        # Its loss is in the file itself, so that the two agree whenever a process is killed.
        path, loss = self.run / BEST, trainer.callback_metrics["val_loss"].item()
        if self._best is None:
            keys = {"val_loss": float}
            self._best = load_checkpoint(path, keys)["val_loss"] if path.exists() else math.inf
        if loss < self._best:
            checkpoint = load_checkpoint(self.path) | {"val_loss": loss}
            AtomicCheckpointIO().save_checkpoint(checkpoint, path)
            self._best = loss

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        if self._asked:  # during the last validation
            self._end(trainer)

    def _end(self, trainer: L.Trainer) -> None:
        number, self._asked = signal.Signals(self._asked or signal.SIGTERM), None
        if number == signal.SIGUSR2 and callable(self._requeue):
            self._requeue(number, None)  # ends the first process, and the job with it
            return
        step = trainer.global_step
        said = f"{number.name}: saved at step {step}, the same command resumes from it"
        exit_with = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        raise Terminated(said if trainer.is_global_zero else "", exit_with)


def write_averages(run: Path) -> None:
    """Write each of the last checkpoint's further averages as a checkpoint, `average_path`.

    They are to be evaluated and sampled from; the training goes on from the last checkpoint.
    """
    last = load_checkpoint(run / CHECKPOINT)
    for decay, weights in last["callbacks"][FURTHER].items():
        checkpoint = {key: last[key] for key in KEYS} | {"state_dict": weights}
        AtomicCheckpointIO().save_checkpoint(checkpoint, average_path(run, decay))
