"""Exponential moving averages of the weights."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dpi.training.module import MicroBatch

RAMP_UP = 0.05
"""No half-life is longer than this part of the images that were seen, as in EDM."""

FURTHER = "FurtherAverages"
"""The key of the averages of `training.show.keep_ema` in a checkpoint's `callbacks`."""


def ema_decay(training: DictConfig, step: int) -> float:
    """The decay of an optimizer step that the section `training` of train.yaml sets,

    ema_decay, or 2^(-batch_size / h) with h = min(ema_halflife, 0.05 images seen), as in EDM
    (Karras et al., 2022).

    Args:
        training: that section.
        step: optimizer steps that have been taken.
    """
    if training.ema_decay is not None:
        return training.ema_decay
    seen = step * training.batch_size
    return 0.5 ** (training.batch_size / min(training.ema_halflife, RAMP_UP * seen)) if seen else 0


def ema_lag(training: DictConfig) -> int:
    """How many optimizer steps it takes until the initial weights are a tenth of the average.

    Args:
        training: as of `ema_decay`. A half-life, which ramps up, does not lag: 0.
    """
    decay = training.ema_decay
    return math.ceil(math.log(0.1) / math.log(decay)) if decay else 0


class WeightAverages(Callback):
    """Averages the weights and buffers after each optimizer step, without a wait for a GPU.

    The first average takes the place of the weights during validation. In a checkpoint it is
    `state_dict`, beside the weights themselves, `current_model_state`.

    Args:
        training: the section of train.yaml, for `ema_decay`; a checkpoint has averages with the
            decays of its `show.keep_ema` in addition.
    """

    def __init__(self, training: DictConfig) -> None:
        self.training = training
        self.average: dict[str, Tensor] = {}
        self.further: dict[float, dict[str, Tensor]] = {d: {} for d in training.show.keep_ema}

    @property
    def state_key(self) -> str:
        return FURTHER

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # What was loaded is laid out as the weights are, and where they are.
        weights = pl_module.state_dict()
        for average in (self.average, *self.further.values()):
            for name, tensor in average.items():
                average[name] = torch.empty_like(weights[name]).copy_(tensor)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, out: Any, batch: MicroBatch, *_: Any
    ) -> None:
        if trainer.global_step == batch.step:  # gradients are still accumulated
            return
        weights = pl_module.state_dict()
        decays = [ema_decay(self.training, batch.step), *self.further]
        for decay, average in zip(decays, (self.average, *self.further.values()), strict=True):
            if average:
                kinds = torch.is_floating_point, torch.is_complex
                mean = [name for name, of in average.items() if any(kind(of) for kind in kinds)]
                both = ([of[name] for name in mean] for of in (average, weights))
                get_ema_multi_avg_fn(decay)(*both, None)
                for name in average.keys() - set(mean):  # indices, counters
                    average[name].copy_(weights[name])
            else:
                average.update((name, tensor.clone()) for name, tensor in weights.items())

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._weights = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        pl_module.load_state_dict(self.average or self._weights)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.load_state_dict(self._weights)
        self._weights.clear()

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = self.average

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.average = dict(checkpoint["state_dict"])
        pl_module.load_state_dict(checkpoint["current_model_state"])

    def state_dict(self) -> dict[float, dict[str, Tensor]]:
        return self.further

    def load_state_dict(self, state_dict: dict[float, dict[str, Tensor]]) -> None:
        self.further |= {k: v for k, v in state_dict.items() if k in self.further}
