"""One optimizer step: corrupt images, predict, square the error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric

from dpi.data import to_unit
from dpi.frameworks import Framework, loss
from dpi.interpolation import parameter_groups
from dpi.runs.checkpoint import check_moments
from dpi.training.draws import DROPOUT, Draws, generator


class MicroBatch(NamedTuple):
    """One process's share of an optimizer step, or a part of it under gradient accumulation."""

    images: Tensor
    """(b, C, H, W) uint8."""
    step: int
    """The optimizer step, from 0."""
    index: int
    """Which slice of the step's batch this is: images index * b ... (index + 1) * b - 1."""


class ValidationBatch(NamedTuple):
    """Held-out images to be corrupted at one scalar."""

    images: Tensor
    """(b, C, H, W) uint8."""
    scalar: int
    """The step, 0 ... S-1."""
    weight: float
    """Of its loss in the mean over the schedule; 1 on average."""


class TrainingModule(L.LightningModule):
    """Trains g(x, s) on the framework's objective, E || g(x_s, s) - target ||^2.

    Args:
        network: g, conditioned on the scalar.
        framework: says how images are corrupted and what is predicted.
        draws: the randomness of each step.
        lr, weight_decay: of AdamW.
        lr_lambda, weight_decay_lambda: those of DPI's coefficients phi.
        random_flip: mirror half of the images.
        log_every: optimizer steps between two entries of the log.
        lr_factor: what the learning rates of optimizer step n, from 0, are multiplied by.
        weighting: of the errors of samples with their scalars, both (B,); parameters of its own
            are trained like phi, without weight decay.
    """

    def __init__(
        self,
        network: nn.Module,
        framework: Framework,
        draws: Draws,
        lr: float,
        lr_lambda: float,
        weight_decay: float,
        weight_decay_lambda: float,
        random_flip: bool = False,
        log_every: int = 1,
        lr_factor: Callable[[int], float] | None = None,
        weighting: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.framework = framework
        self.draws = draws
        self.lr, self.lr_lambda = lr, lr_lambda
        self.weight_decay, self.weight_decay_lambda = weight_decay, weight_decay_lambda
        self.random_flip = random_flip
        self.log_every = log_every
        self.lr_factor = lr_factor
        self.weighting = weighting
        self.mean_loss = MeanMetric(nan_strategy="disable")  # a NaN is to be seen

    def errors(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """The squared errors of a micro-batch and its scalars, both (b,); a function of the seed
        and the step alone."""
        x = to_unit(batch.images)
        size = len(x)
        mine = slice(batch.index * size, (batch.index + 1) * size)
        if self.random_flip:
            flips = self.draws.flips(batch.step)[mine].to(x.device, non_blocking=True)
            x = torch.where(flips.reshape(-1, 1, 1, 1), x.flip(-1), x)
        s = self.draws.scalars(batch.step)[mine]
        noise = self.draws.noise(batch.step, x.shape[1:], x.device)[mine]
        # Dropout draws from the global generator.
        key = generator(self.draws.seed, DROPOUT, batch.step, batch.index)
        torch.manual_seed(key.initial_seed())
        return loss(self.network, self.framework, x, noise, s), s

    def loss(self, batch: MicroBatch) -> Tensor:
        """What is minimized: the mean of a micro-batch's errors, weighted if they are to be."""
        return self._mean(*self.errors(batch))

    def _mean(self, errors: Tensor, s: Tensor) -> Tensor:
        return (errors if self.weighting is None else self.weighting(errors, s)).mean()

    def training_step(self, batch: MicroBatch, batch_idx: int) -> Tensor:
        errors, s = self.errors(batch)
        # With stratified scalars one micro-batch sees one part of the schedule: the loss that is
        # logged is the mean over all of them, in all processes, since the last entry. It is not
        # weighted, so that runs can be compared.
        self.mean_loss.update(errors.detach().mean())
        micro_batch = batch.index // self.trainer.world_size
        last = micro_batch == self.trainer.accumulate_grad_batches - 1
        if last and (batch.step + 1) % self.log_every == 0:
            self.log("loss", self.mean_loss.compute(), prog_bar=True)
            self.mean_loss.reset()
        return self._mean(errors, s)

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        # The same noise whatever the run, so that runs can be compared.
        x = to_unit(batch.images)
        noise = torch.randn(x.shape, generator=generator(batch.scalar)).to(x)
        value = loss(self.network, self.framework, x, noise, torch.tensor(batch.scalar)).mean()
        share = batch.weight * len(x)  # in the mean over the batches
        self.log("val_loss", value, prog_bar=True, batch_size=share, sync_dist=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if (self.trainer.global_step + 1) % self.log_every:
            return
        norm = get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        # AdamW's fused kernel takes the gradients of 16-mixed as they are, scaled.
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        self.log("grad_norm", norm / scaler.get_scale() if scaler else norm)
        self.log("lr", optimizer.param_groups[0]["lr"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        moments = checkpoint["optimizer_states"][0]["state"]
        check_moments(self.optimizer(), moments, Path(self.trainer.ckpt_path))

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over the network and the weighting."""
        groups = parameter_groups(self.network, self.lr, self.lr_lambda, self.weight_decay_lambda)
        if isinstance(self.weighting, nn.Module):
            learned = list(self.weighting.parameters())
            groups.append({"params": learned, "lr": self.lr_lambda, "weight_decay": 0.0})
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        if self.lr_factor is None:
            return optimizer
        scheduler = LambdaLR(optimizer, self.lr_factor)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
