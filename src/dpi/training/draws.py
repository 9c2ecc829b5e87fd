"""Everything random in optimizer step n is a function of the seed and n, and of nothing else.

So a resumed run continues exactly as if it had never been interrupted, without any generator state
in its checkpoint, and neither the number of processes nor gradient accumulation changes what is
learned: each of them takes its slice of the same batch.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor


def generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """An independent generator for every key, e.g. (seed, stream, step)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


# Independent streams: the second part of the key.
IMAGES, FLIPS, SCALARS, NOISE, DROPOUT, STRATA = range(6)


@dataclass(frozen=True)
class Draws:
    """What is drawn for one optimizer step.

    Args:
        training: the section of train.yaml, of which `batch_size` is B below, `distinct_scalars`
            and `stratified`.
        seed: of the run.
        num_images: training images.
        num_scalars: S.
    """

    training: DictConfig
    seed: int
    num_images: int
    num_scalars: int

    @property
    def batch_size(self) -> int:
        """B, images an optimizer step, over all processes and micro-batches."""
        return self.training.batch_size

    @property
    def count(self) -> int:
        """How many scalars a step draws, each shared by about B / count images."""
        return self.training.distinct_scalars or self.batch_size

    def images(self, step: int) -> Tensor:
        """Which images: (B,) indices; every image once before any is repeated."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(positions, self.num_images)
        order = {epoch: _shuffled(self.seed, epoch, self.num_images) for epoch in set(epochs)}
        return torch.tensor([order[e][p] for e, p in zip(epochs, places, strict=True)])

    def flips(self, step: int) -> Tensor:
        """Which of them are mirrored, if flips are on: (B,) bool."""
        return torch.rand(self.batch_size, generator=generator(self.seed, FLIPS, step)) < 0.5

    def scalars(self, step: int) -> Tensor:
        """Which scalar each is corrupted by: (B,) steps in 0 ... S-1, on the CPU.

        Stratified: one in each of `count` equal parts of the range, or, where a step has only one
        scalar, one in each of eight parts over eight successive steps.
        """
        count = self.count
        u = torch.rand(count, generator=generator(self.seed, SCALARS, step), dtype=torch.float64)
        if self.training.stratified and count == 1:
            order = generator(self.seed, STRATA, step // 8)
            u = (torch.randperm(8, generator=order)[step % 8] + u) / 8
        elif self.training.stratified:
            u = (torch.arange(count) + u) / count
        scalars = (u * self.num_scalars).long()
        return scalars[torch.arange(self.batch_size) * count // self.batch_size]

    def samples_per_scalar(self, size: int) -> int | None:
        """How many consecutive samples of every slice of `size` share a scalar; None if that
        varies."""
        varies = self.batch_size % self.count
        return None if varies else math.gcd(self.batch_size // self.count, size)

    def noise(self, step: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Standard normal noise for the whole batch: (B, *shape), drawn on the device."""
        key = generator(self.seed, NOISE, step, device=device)
        return torch.randn(self.batch_size, *shape, generator=key, device=device)


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, num_images: int) -> np.ndarray:
    key = generator(seed, IMAGES, epoch)
    return torch.randperm(num_images, generator=key).numpy()
