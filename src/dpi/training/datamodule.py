"""The images: an endless stream to train on, a fixed set of held-out ones to validate on."""

from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dpi.data.split import Split
from dpi.frameworks.quadrature import nodes, weights
from dpi.training.draws import Draws
from dpi.training.module import MicroBatch, ValidationBatch

VAL_SCALARS = 100
VAL_IMAGES = 16
"""The validation loss: the mean over the schedule from 100 of its scalars, 16 images each."""


class DataModule(L.LightningDataModule):
    """Serves each process its micro-batches of every optimizer step.

    Args:
        images: (N, C, H, W) uint8, all of them.
        split: which are trained on, and which are held out.
        draws: which of them each step takes.
    """

    def __init__(self, images: np.ndarray, split: Split, draws: Draws) -> None:
        super().__init__()
        self.images: np.ndarray | Tensor = images
        self.split, self.draws = split, draws

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device
        # `validate` after `fit` sets up again, with the images on the device.
        if device.type == "cuda" and isinstance(self.images, np.ndarray):
            free, _ = torch.cuda.mem_get_info(device)
            if self.images.nbytes < free / 4:
                self.images = torch.from_numpy(np.array(self.images)).to(device)

    def train_dataloader(self) -> Iterator[MicroBatch]:
        trainer, draws = self.trainer, self.draws
        accumulate, processes = trainer.accumulate_grad_batches, trainer.world_size
        size = draws.batch_size // (accumulate * processes)
        step = trainer.global_step  # that of the checkpoint, when a run is resumed
        while True:
            indices = self.split.train[draws.images(step).numpy()]
            for micro_batch in range(accumulate):
                index = micro_batch * processes + trainer.global_rank
                yield MicroBatch(self.take(indices[index * size : (index + 1) * size]), step, index)
            step += 1

    def val_dataloader(self) -> DataLoader:
        scalars = nodes(VAL_SCALARS, self.draws.num_scalars)
        shares = len(scalars) * weights(scalars, self.draws.num_scalars)
        places = np.arange(len(scalars) * VAL_IMAGES) % len(self.split.held_out)
        indices = self.split.held_out[places].reshape(len(scalars), VAL_IMAGES)
        batches = list(zip(indices, scalars, shares.tolist(), strict=True))
        mine = batches[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(
            mine, batch_size=None, collate_fn=lambda b: ValidationBatch(self.take(b[0]), *b[1:])
        )

    def take(self, indices: np.ndarray) -> Tensor:
        """The images of these indices: (len(indices), C, H, W) uint8."""
        if isinstance(self.images, np.ndarray):
            return torch.from_numpy(self.images[indices])
        return self.images[torch.from_numpy(indices).to(self.images.device, non_blocking=True)]
