"""Weights by a formula, so that the reference files need not hold them."""

import zlib

import numpy as np
import torch
from torch import Tensor


def weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """For each name a tensor of its shape, of mixed signs and sensible size, from the name."""
    state = {}
    for name, shape in shapes.items():
        start = zlib.crc32(name.encode()) % 1000
        wave = np.sin(12.9898 * (np.arange(np.prod(shape)) + start) + 0.1 * start)
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 25
        wave *= np.sqrt(2 / fan_in)
        if len(shape) == 1 and name.endswith("weight"):
            wave += 1
        state[name] = torch.from_numpy(wave.reshape(shape)).float()
    return state
