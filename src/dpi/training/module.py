"""One optimizer step: corrupt images, predict, square the error."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torchmetrics import MeanMetric

from dpi.data import to_unit
from dpi.errors import UserError
from dpi.frameworks import Framework, loss
from dpi.interpolation import Interpolated, parameter_groups
from dpi.runs.build import set_memory_format
from dpi.runs.checkpoint import check_moments
from dpi.runs.files import CHECKPOINT
from dpi.training.draws import DROPOUT, Draws, generator
from dpi.training.weighting import make_weighting


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

    What weights the errors may have parameters of its own; they are trained like DPI's phi, without
    weight decay.

    Args:
        cfg: with seed, training, trainer, data.random_flip and run.
        framework: says how images are corrupted and what is predicted.
        network: g, conditioned on the scalar.
        num_images: training images.
    """

    def __init__(
        self, cfg: DictConfig, framework: Framework, network: nn.Module, num_images: int
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.framework = framework
        self.network = network
        self.draws = Draws(cfg.training, cfg.seed, num_images, framework.num_scalars)
        self.weighting = make_weighting(cfg.training.loss_weighting, framework)
        self.mean_loss = MeanMetric(nan_strategy="disable")  # a NaN is to be seen

    def lay_out(self, device: torch.device, processes: int = 1) -> None:
        """Lay the network out in memory for a device, and compile it if it is to be."""
        set_memory_format(self.network, device, self.cfg.trainer.channels_last)
        if not self.cfg.trainer.compile:
            return
        parts = self.cfg.trainer.accumulate_grad_batches * processes
        shared = self.draws.samples_per_scalar(self.draws.batch_size // parts)
        for module in self.network.modules():
            if isinstance(module, Interpolated):
                module.samples_per_scalar = shared
        self.network.compile()

    def errors(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """The squared errors of a micro-batch and its scalars, both (b,); a function of the seed
        and the step alone."""
        x = to_unit(batch.images)
        size = len(x)
        mine = slice(batch.index * size, (batch.index + 1) * size)
        if self.cfg.data.random_flip:
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

    def on_train_batch_start(self, batch: MicroBatch, batch_idx: int) -> None:
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * lr_factor(self.cfg.training, batch.step)

    def training_step(self, batch: MicroBatch, batch_idx: int) -> Tensor:
        errors, s = self.errors(batch)
        # With stratified scalars one micro-batch sees one part of the schedule: the loss that is
        # logged is the mean over all of them, in all processes, since the last entry. It is not
        # weighted, so that runs can be compared.
        self.mean_loss.update(errors.detach().mean())
        micro_batch = batch.index // self.trainer.world_size
        last = micro_batch == self.trainer.accumulate_grad_batches - 1
        step, every = batch.step + 1, self.cfg.training.show.log_every
        if last and step % every == 0:
            mean = self.mean_loss.compute()
            self.mean_loss.reset()
            if not mean.isfinite():
                said = f"the loss of steps {max(step - every, 0) + 1} to {step} is not finite"
                error = UserError(diverged(said, Path(self.cfg.run, CHECKPOINT)))
                raise error if self.trainer.is_global_zero else SystemExit(1)
            self.log("loss", mean, prog_bar=True)
        return self._mean(errors, s)

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        # The same noise whatever the run, so that runs can be compared.
        x = to_unit(batch.images)
        noise = torch.randn(x.shape, generator=generator(batch.scalar)).to(x)
        value = loss(self.network, self.framework, x, noise, torch.tensor(batch.scalar)).mean()
        share = batch.weight * len(x)  # in the mean over the batches
        how = {"prog_bar": True, "logger": False, "sync_dist": True}  # `SampleLogger` logs it
        self.log("val_loss", value, batch_size=share, **how)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if (self.trainer.global_step + 1) % self.cfg.training.show.log_every:
            return
        norm = get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        # AdamW's fused kernel takes the gradients of 16-mixed as they are, scaled.
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        self.log("grad_norm", norm / scaler.get_scale() if scaler else norm)
        self.log("lr", optimizer.param_groups[0]["lr"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        path, (state,) = Path(self.trainer.ckpt_path), checkpoint["optimizer_states"]
        optimizer = self.configure_optimizers()
        check_moments(optimizer, state["state"], path)
        # All else follows from the configuration and the step.
        state["param_groups"] = optimizer.state_dict()["param_groups"]
        checkpoint["lr_schedulers"] = []
        try:
            self.trainer.fit_loop.load_state_dict(checkpoint["loops"]["fit_loop"])
            counted = self.trainer.global_step
        except (LookupError, TypeError, ValueError, AttributeError):
            counted = None
        if counted != checkpoint["global_step"]:
            raise UserError(
                f"{path} is damaged: its weights are of step {checkpoint['global_step']}, and its "
                f"loops of step {counted}"
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the network and the weighting."""
        t = self.cfg.training
        groups = parameter_groups(self.network, t.lr, t.lr_lambda, t.weight_decay_lambda)
        if isinstance(self.weighting, nn.Module):
            learned = list(self.weighting.parameters())
            groups.append({"params": learned, "lr": t.lr_lambda, "weight_decay": 0.0})
        groups = [{"initial_lr": group["lr"], **group} for group in groups]
        # Under autocast, Lightning clips no gradients of a fused optimizer.
        trainer = self.cfg.trainer
        fused = trainer.gradient_clip_val is None or trainer.precision == "32-true"
        return torch.optim.AdamW(groups, weight_decay=t.weight_decay, fused=fused)


def lr_factor(training: DictConfig, step: int) -> float:
    """What the learning rates of optimizer step n, from 0, are multiplied by,

        min((n + 1) / W, 1)  times   1                                    constant
                                     (1 + cos(pi (n - W) / (D - W))) / 2  cosine, 1 before n = W
                                     1 / sqrt(max(n / D, 1))              rsqrt

    with W warm-up steps and D decay steps. `cosine` reaches 0 at step D, `rsqrt` decays from there
    on (EDM2, Karras et al., 2024).

    Args:
        training: the section of train.yaml, with lr_schedule, warmup_steps and lr_decay_steps.
        step: n.
    """
    start, end = training.warmup_steps, training.lr_decay_steps
    warmup = min((step + 1) / start, 1.0) if start else 1.0
    if training.lr_schedule == "cosine":
        progress = min(max((step - start) / (end - start), 0.0), 1.0)
        return warmup * (1 + math.cos(math.pi * progress)) / 2
    if training.lr_schedule == "rsqrt":
        return warmup / math.sqrt(max(step / end, 1.0))
    return warmup


def diverged(what: str, path: Path) -> str:
    """The message of a training that diverged; `path` is that of its checkpoint."""
    kept = f"{path} is of an earlier step, and finite" if path.exists() else "nothing was saved"
    return (
        f"{what}: lower training.lr, or try trainer.gradient_clip_val=1, training.warmup_steps= or "
        f"trainer.precision=32-true; {kept}"
    )
