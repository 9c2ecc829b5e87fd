"""Samples from a trained model: picture i is a function of the weights, the seed and i."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from dpi.configuration import check
from dpi.data import to_uint8
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


def draw(
    framework: Framework,
    network: nn.Module,
    size: int,
    count: int,
    seed: int = 0,
    num_steps: int = 200,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Draw pictures 0 ... count-1.

    Args:
        framework, network: as in `dpi.runs.Run`; the network is moved to the device.
        size: H = W, as trained.
        num_steps: network evaluations a picture.
        batch_size: pictures at once; no part of the result.

    Returns:
        (count, size, size, 3) uint8.
    """
    network = network.to(device).eval()
    pictures = []
    with tqdm(total=count, desc="Sampling", unit="picture") as bar:
        for first in range(0, count, batch_size):
            indices = range(first, min(first + batch_size, count))
            noise = start_noise(seed, indices, size).to(device)
            x = framework.sample(network, noise, num_steps, progress=True)
            pictures.append(to_uint8(x))
            bar.update(len(indices))
    return np.concatenate(pictures)


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
    out = cfg.out or run.folder / "samples" / f"seed{cfg.seed}_steps{cfg.steps}_n{cfg.n}"
    out = Path(out)
    pictures = draw(
        run.framework,
        run.network,
        run.cfg.image_size,
        cfg.n,
        cfg.seed,
        cfg.steps,
        cfg.batch_size,
        cfg.device,
    )
    save_grid(pictures[:GRID], out.with_name(f"{out.name}.png"))
    print(f"{min(cfg.n, GRID)} samples: {out}.png")
    if cfg.npz:
        _save_npz(pictures, out.with_name(f"{out.name}.npz"))
        print(f"{cfg.n} samples: {out}.npz")


def _save_npz(pictures: np.ndarray, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, arr_0=pictures)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} could not be written, is the disk full? ({error})") from None
