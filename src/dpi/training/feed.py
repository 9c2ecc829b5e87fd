"""Hands the pictures to the Trainer: an endless stream to train on, a fixed set held out."""

from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from dpi.errors import UserError
from dpi.training.draws import Draws
from dpi.training.module import HeldOut, Part

HELD_OUT_SCALARS = 100
HELD_OUT_PICTURES = 16
"""The held-out loss: at 100 scalars spread over the schedule, 16 pictures each."""


class Feed(L.LightningDataModule):
    """Serves each process its slices of every optimizer step's batch.

    Args:
        pictures: (N, 3, H, W) uint8, all of them.
        train, held_out: indices into pictures.
        draws: says which pictures a step takes.
        first_step: the optimizer step to begin at, when a run is resumed.
        accumulate: micro-batches an optimizer step.

    Raises:
        UserError: the batch does not divide among processes and micro-batches.
    """

    def __init__(
        self,
        pictures: np.ndarray,
        train: np.ndarray,
        held_out: np.ndarray,
        draws: Draws,
        first_step: int,
        accumulate: int,
    ) -> None:
        super().__init__()
        self.pictures: np.ndarray | Tensor = pictures
        self.train, self.held_out = train, held_out
        self.draws = draws
        self.first_step = first_step
        self.accumulate = accumulate

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.pictures.nbytes < free / 4:
                self.pictures = torch.from_numpy(np.array(self.pictures)).to(device)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Stream(self), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        scalars = np.linspace(0, self.draws.num_scalars - 1, HELD_OUT_SCALARS).round().astype(int)
        places = np.arange(HELD_OUT_SCALARS * HELD_OUT_PICTURES) % len(self.held_out)
        which = self.held_out[places].reshape(HELD_OUT_SCALARS, HELD_OUT_PICTURES)
        mine = slice(self.trainer.global_rank, None, self.trainer.world_size)
        batches = list(zip(which[mine], scalars[mine].tolist(), strict=True))
        return DataLoader(
            batches, batch_size=None, collate_fn=lambda b: HeldOut(self._take(b[0]), b[1])
        )

    def _take(self, indices: np.ndarray) -> Tensor:
        if isinstance(self.pictures, np.ndarray):
            return torch.from_numpy(self.pictures[indices])
        return self.pictures[torch.from_numpy(indices).to(self.pictures.device)]


class _Stream(IterableDataset):
    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __iter__(self) -> Iterator[Part]:
        feed, draws = self.feed, self.feed.draws
        rank, processes = feed.trainer.global_rank, feed.trainer.world_size
        parts = feed.accumulate * processes
        if draws.batch_size % parts:
            raise UserError(
                f"training.batch_size={draws.batch_size} does not divide into {feed.accumulate} "
                f"micro-batches (trainer.accumulate_grad_batches) on {processes} devices"
            )
        size = draws.batch_size // parts
        step = feed.first_step
        while True:
            which = feed.train[draws.pictures(step).numpy()]
            for micro_batch in range(feed.accumulate):
                part = micro_batch * processes + rank
                yield Part(feed._take(which[part * size : (part + 1) * size]), step, part)
            step += 1
