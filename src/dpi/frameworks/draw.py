"""Samples by index: sample i is a function of the weights, the seed and i."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dpi.data import to_uint8
from dpi.errors import UserError
from dpi.frameworks import Framework

Shape = tuple[int, int, int]
"""Of an image: channels, height, width."""


def start_noise(seed: int, indices: Iterable[int], shape: Shape) -> Tensor:
    """The noise that samples start from: (len(indices), C, H, W), standard normal.

    Each is drawn from a generator of its own, so it depends neither on the other samples nor on
    the device. (NumPy's: PyTorch's on the CPU uses 32 bits of its seed, few enough for two of
    50,000 samples to start from the same noise.)
    """
    noises = [np.random.default_rng((seed, i)).standard_normal(shape, np.float32) for i in indices]
    return torch.from_numpy(np.stack(noises))


def network_evaluations(
    framework: Framework, num_steps: int, solver: str | None = None, section: str = ""
) -> int:
    """How many forward passes of the network a sample takes.

    Args:
        framework, num_steps, solver: see its `sample`.
        section: what begins the keys of these settings, such as "eval.samples.", for the message.

    Raises:
        UserError: the framework has no such solver, or the solver cannot take so many steps, or
            gives NaN, as some of diffusers do where steps are repeated.
    """
    passes = 0

    def network(x: Tensor, s: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        return x

    try:
        sample = framework.sample(network, torch.ones(1, 3, 1, 1), num_steps, solver)
    except UserError as error:
        raise UserError(f"{section}{error}") from None
    if not sample.isfinite().all():
        raise UserError(
            f"{section}steps={num_steps}: solver={solver} gives NaN with so many; give fewer"
        )
    return passes


def draw(
    framework: Framework,
    network: Callable[[Tensor, Tensor], Tensor],
    shape: Shape,
    indices: Sequence[int],
    seed: int,
    num_steps: int,
    solver: str | None,
    batch_size: int,
    device: torch.device | str,
) -> Iterator[np.ndarray]:
    """Draw the samples of these indices, a batch at a time.

    Args:
        framework, network: as in `dpi.runs.run.Run`, the network on the device.
        shape: (C, H, W), as trained.
        num_steps, solver: one of the framework's solvers, and its number of steps.
        batch_size: samples at once; does not change them but for rounding.

    Yields:
        (B, H, W, C) uint8.

    Raises:
        UserError: samples are not finite.
    """
    for first in range(0, len(indices), batch_size):
        noise = start_noise(seed, indices[first : first + batch_size], shape).to(device)
        yield to_uint8(framework.sample(network, noise, num_steps, solver, progress=True))
