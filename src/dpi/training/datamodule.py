"""The images: an endless stream to train on, a fixed set of held-out ones to validate on."""

from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from dpi.errors import UserError
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
        train, held_out: indices into images.
        draws: which images each step takes.
        first_step: the optimizer step to begin at, when a run is resumed.
        accumulate: micro-batches an optimizer step.

    Raises:
        UserError: the batch cannot be divided among processes and micro-batches.
    """

    def __init__(
        self,
        images: np.ndarray,
        train: np.ndarray,
        held_out: np.ndarray,
        draws: Draws,
        first_step: int,
        accumulate: int,
    ) -> None:
        super().__init__()
        self.images: np.ndarray | Tensor = images
        self.train, self.held_out = train, held_out
        self.draws = draws
        self.first_step = first_step
        self.accumulate = accumulate

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device
        # `validate` after `fit` sets up again, with the images on the device.
        if device.type == "cuda" and isinstance(self.images, np.ndarray):
            free, _ = torch.cuda.mem_get_info(device)
            if self.images.nbytes < free / 4:
                self.images = torch.from_numpy(np.array(self.images)).to(device)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Stream(self), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        scalars = nodes(VAL_SCALARS, self.draws.num_scalars)
        shares = len(scalars) * weights(scalars, self.draws.num_scalars)
        places = np.arange(len(scalars) * VAL_IMAGES) % len(self.held_out)
        indices = self.held_out[places].reshape(len(scalars), VAL_IMAGES)
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


class _Stream(IterableDataset):
    def __init__(self, data: DataModule) -> None:
        self.data = data

    def __iter__(self) -> Iterator[MicroBatch]:
        data, draws = self.data, self.data.draws
        rank, processes = data.trainer.global_rank, data.trainer.world_size
        parts = data.accumulate * processes
        if draws.batch_size % parts:
            raise UserError(
                f"training.batch_size={draws.batch_size} does not divide into {data.accumulate} "
                f"micro-batches (trainer.accumulate_grad_batches) on {processes} devices"
            )
        size = draws.batch_size // parts
        step = data.first_step
        while True:
            indices = data.train[draws.images(step).numpy()]
            for micro_batch in range(data.accumulate):
                index = micro_batch * processes + rank
                yield MicroBatch(data.take(indices[index * size : (index + 1) * size]), step, index)
            step += 1
