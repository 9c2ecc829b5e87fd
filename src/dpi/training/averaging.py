"""The exponential moving average of the weights."""

from itertools import chain
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from omegaconf import DictConfig
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ema_decay(training: DictConfig) -> float:
    """The decay of an optimizer step that the section `training` of train.yaml sets,

    ema_decay, or 2^(-batch_size / ema_halflife), as in EDM (Karras et al., 2022).
    """
    if training.ema_decay is not None:
        return training.ema_decay
    return 0.5 ** (training.batch_size / training.ema_halflife)


class EMAWeightAveraging(WeightAveraging):
    """Lightning's callback of this name, without its two GPU synchronizations in every step.

    Args:
        decay: weight of the average against the weights of a step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True)
        self._average = get_ema_multi_avg_fn(decay)

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
            self._average(average, current, None)
        self._updates += 1
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step
