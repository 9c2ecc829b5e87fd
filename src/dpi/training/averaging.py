"""Exponential moving averages of the weights."""

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from omegaconf import DictConfig
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dpi.training.module import MicroBatch

RAMP_UP = 0.05
"""No half-life is longer than this part of the images that were seen, as in EDM."""


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


class EMAWeightAveraging(WeightAveraging):
    """Lightning's callback of this name, without its two GPU synchronizations in every step.

    Args:
        decay: weight of the average against the weights of a step, by the number of earlier ones.
    """

    def __init__(self, decay: Callable[[int], float]) -> None:
        super().__init__(use_buffers=True)
        self.decay = decay

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._updates = int(self._average_model.n_averaged)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step <= self._latest_update_step:
            return
        average, current = (
            list(chain(m.parameters(), m.buffers()))
            for m in (self._average_model.module, pl_module)
        )
        if self._updates == 0:
            torch._foreach_copy_(average, current)
        else:
            get_ema_multi_avg_fn(self.decay(self._updates))(average, current, None)
        self._updates += 1
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step


class FurtherAverages(Callback):
    """Averages of other decays, which a checkpoint has beside the one that is evaluated.

    Args:
        decays: weights of the averages against the weights of a step.
    """

    def __init__(self, decays: Iterable[float]) -> None:
        self._averages: dict[float, dict[str, Tensor]] = {decay: {} for decay in decays}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for decay, average in self._averages.items():
            self._averages[decay] = {k: v.to(pl_module.device) for k, v in average.items()}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, out: Any, batch: MicroBatch, *_: Any
    ) -> None:
        if trainer.global_step == batch.step:  # gradients are still accumulated
            return
        weights = pl_module.state_dict()
        for decay, average in self._averages.items():
            if average:
                average_ = get_ema_multi_avg_fn(decay)
                average_(list(average.values()), list(weights.values()), None)
            else:
                average.update((name, tensor.clone()) for name, tensor in weights.items())

    def state_dict(self) -> dict[float, dict[str, Tensor]]:
        return self._averages

    def load_state_dict(self, state_dict: dict[float, dict[str, Tensor]]) -> None:
        self._averages |= {k: v for k, v in state_dict.items() if k in self._averages}
