"""A training that diverges ends, and its last finite checkpoint is kept."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from dpi.errors import UserError
from dpi.training.module import MicroBatch


class FiniteLoss(Callback):
    """Ends the training if the loss is not finite.

    The loss of every step is looked at, but on the device: only every `every` steps does the CPU
    wait for what was found.

    Args:
        path: of the checkpoint.
        every: optimizer steps between two looks.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._first = torch.full((), torch.inf, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: MicroBatch, *_: Any
    ) -> None:
        step = batch.step + 1
        bad = self._first.clamp(max=step)
        self._first = torch.where(outputs["loss"].detach().isfinite(), self._first, bad)
        if trainer.global_step < step:  # gradients are still accumulated
            return
        if step % self.every and step != trainer.max_steps:
            return
        first = trainer.strategy.reduce(self._first, reduce_op="min").item()
        if first < torch.inf:
            error = UserError(diverged(f"the loss is not finite at step {first:.0f}", self.path))
            raise error if trainer.is_global_zero else SystemExit(1)


def diverged(what: str, path: Path) -> str:
    """The message of a training that diverged."""
    kept = f"{path} is of an earlier step, and finite" if path.exists() else "nothing was saved"
    return (
        f"{what}: lower training.lr, or try trainer.gradient_clip_val=1, training.warmup_steps= or "
        f"trainer.precision=32-true; {kept}"
    )
