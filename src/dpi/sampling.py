"""Samples from a trained model: picture i is a function of the weights, the seed and i."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from dpi.configuration import check
from dpi.data import save_npz, to_uint8
from dpi.errors import UserError
from dpi.figures import save_grid
from dpi.frameworks import Framework
from dpi.runs import open_run

RANGES = {
    "n": (int, 1, 2**31),
    "seed": (int, 0, 2**31),
    "steps": (int, 1, 1000),
    "batch_size": (int, 1, 2**31),
}

GRID = 144
"""At most so many pictures go into the PNG; all of them into the .npz."""


def start_noise(seed: int, indices: Iterable[int], size: int) -> Tensor:
    """The noise that pictures start from: (len(indices), 3, size, size), standard normal.

    Each is drawn from a generator of its own, so that neither the other pictures nor the device
    have a say in it. (NumPy's: PyTorch's on the CPU uses 32 bits of its seed, few enough for two
    of 50,000 pictures to start from the same noise.)
    """
    shape = (3, size, size)
    noises = [np.random.default_rng((seed, i)).standard_normal(shape, np.float32) for i in indices]
    return torch.from_numpy(np.stack(noises))


def network_evaluations(framework: Framework, num_steps: int, solver: str) -> int:
    """How many passes through the network a picture takes.

    Raises:
        UserError: the framework has no such solver, or it cannot take so many steps.
    """
    passes = 0

    def network(x: Tensor, s: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        return x

    framework.sample(network, torch.zeros(1, 3, 1, 1), num_steps, solver)
    return passes


def draw(
    framework: Framework,
    network: Callable[[Tensor, Tensor], Tensor],
    size: int,
    indices: Sequence[int],
    seed: int,
    num_steps: int,
    solver: str,
    batch_size: int,
    device: torch.device | str,
) -> Iterator[np.ndarray]:
    """Draw the pictures of these indices, a batch at a time.

    Args:
        framework, network: as in `dpi.runs.Run`, the network on the device.
        size: H = W, as trained.
        num_steps, solver: one of the framework's solvers, and how many of its steps.
        batch_size: pictures at once; no part of the result.

    Yields:
        (B, size, size, 3) uint8.
    """
    for first in range(0, len(indices), batch_size):
        noise = start_noise(seed, indices[first : first + batch_size], size).to(device)
        yield to_uint8(framework.sample(network, noise, num_steps, solver, progress=True))


def sample(cfg: DictConfig) -> None:
    """Draw samples from a run and write them, see configs/sample.yaml.

    Raises:
        UserError: no such run, a damaged one, or numbers that make no sense.
    """
    check(cfg, RANGES)
    try:
        torch.empty(0, device=cfg.device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={cfg.device}: {str(error).splitlines()[0]}") from None
    run = open_run(cfg.run, cfg.trust)
    if run.step < run.cfg.training.steps:
        print(f"{run.folder} is not finished: step {run.step} of {run.cfg.training.steps}")
    solver = cfg.solver or run.framework.solvers[0]
    network_evaluations(run.framework, cfg.steps, solver)
    name = f"seed{cfg.seed}_{solver}{cfg.steps}_n{cfg.n}"
    out = Path(cfg.out or run.folder / "samples" / name)
    batches = draw(
        run.framework,
        run.network.to(cfg.device),
        run.cfg.image_size,
        range(cfg.n),
        cfg.seed,
        cfg.steps,
        solver,
        cfg.batch_size,
        cfg.device,
    )
    parts = []
    with tqdm(total=cfg.n, desc="Sampling", unit="picture") as bar:
        for batch in batches:
            parts.append(batch)
            bar.update(len(batch))
    pictures = np.concatenate(parts)
    save_grid(pictures[:GRID], out.with_name(f"{out.name}.png"))
    print(f"{min(cfg.n, GRID)} samples: {out}.png")
    if cfg.npz:
        save_npz(out.with_name(f"{out.name}.npz"), {"arr_0": pictures})
        print(f"{cfg.n} samples: {out}.npz")
