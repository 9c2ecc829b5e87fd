"""One optimizer step: corrupt pictures, predict, square the error."""

from typing import NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpi.data import to_unit
from dpi.frameworks import Framework
from dpi.interpolation import parameter_groups
from dpi.training.draws import DROPOUT, Draws, generator


class Part(NamedTuple):
    """One process's micro-batch of an optimizer step."""

    pictures: Tensor
    """(b, 3, H, W) uint8."""
    step: int
    """The optimizer step, from 0."""
    part: int
    """Which slice of the step's batch this is: pictures part * b ... (part + 1) * b - 1."""


class HeldOut(NamedTuple):
    """Held-out pictures to be corrupted by one scalar."""

    pictures: Tensor
    """(b, 3, H, W) uint8."""
    scalar: int
    """The step, 0 ... S-1."""


class Training(L.LightningModule):
    """Trains g(x, s) on the framework's objective, E || g(x_s, s) - target ||^2.

    Args:
        network: g, told its scalar.
        framework: says what is corrupted and what is predicted.
        draws: the randomness of each step.
        lr, weight_decay: AdamW's.
        lr_lambda, weight_decay_lambda: those of DPI's coefficients phi.
        random_flip: mirror half of the pictures.
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
    ) -> None:
        super().__init__()
        self.network = network
        self.framework = framework
        self.draws = draws
        self.lr, self.lr_lambda = lr, lr_lambda
        self.weight_decay, self.weight_decay_lambda = weight_decay, weight_decay_lambda
        self.random_flip = random_flip

    def training_step(self, batch: Part, batch_idx: int) -> Tensor:
        x = to_unit(batch.pictures)
        size = len(x)
        mine = slice(batch.part * size, (batch.part + 1) * size)
        if self.random_flip:
            flips = self.draws.flips(batch.step)[mine].to(x.device)
            x = torch.where(flips.reshape(-1, 1, 1, 1), x.flip(-1), x)
        s = self.draws.scalars(batch.step)[mine]
        noise = self.draws.noise(batch.step, x.shape[1:], x.device)[mine]
        # Dropout draws from the global generator.
        key = generator(self.draws.seed, DROPOUT, batch.step, batch.part)
        torch.manual_seed(key.initial_seed())
        loss = self._error(x, noise, s)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: HeldOut, batch_idx: int) -> None:
        # The same noise whatever the run, so that runs can be compared.
        x = to_unit(batch.pictures)
        noise = torch.randn(x.shape, generator=generator(batch.scalar)).to(x)
        loss = self._error(x, noise, torch.tensor(batch.scalar))
        self.log("held-out", loss, prog_bar=True, batch_size=len(x), sync_dist=True)

    def _error(self, x: Tensor, noise: Tensor, s: Tensor) -> Tensor:
        corrupted, target = self.framework.corrupt(x, noise, s)
        return F.mse_loss(self.network(corrupted, s), target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.network, self.lr, self.lr_lambda, self.weight_decay_lambda)
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=True)
