"""What the benchmarks of speed share: an optimizer step, and how steps are timed."""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from hydra import compose, initialize
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dpi.cli import register_resolvers
from dpi.runs.build import build
from dpi.training.fit import make_draws, make_module
from dpi.training.module import MicroBatch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ARCHS = ("drunet", "adm")

Step = Callable[[int], object]


def read(*overrides: str) -> DictConfig:
    """A configuration of train.py."""
    register_resolvers()
    with initialize(config_path="../configs", version_base="1.3"):
        return compose("train", ["run=none", *overrides])


def seconds(step: Step, n: int, repeats: int) -> float:
    """The mean time of steps n, n + 1, ... that are not waited for one by one."""
    _wait()
    start = time.perf_counter()
    for k in range(repeats):
        step(n + k)
    _wait()
    return (time.perf_counter() - start) / repeats


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def in_turn(steps: dict[str, Step], rounds: int, repeats: int) -> dict[str, list[float]]:
    """The time of each step in each round, in seconds.

    They take turns, so that a clock that changes, or another program, slows all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, 10 + k * repeats, repeats))
    return times


def ratio(times: list[float], baseline: list[float]) -> float:
    """The median over rounds of the time relative to that of another step."""
    return statistics.median(a / b for a, b in zip(times, baseline, strict=True))


def autocast(cfg: DictConfig) -> Callable:
    """The context of a configuration's precision."""
    half = cfg.trainer.precision == "bf16-mixed"
    return partial(torch.autocast, DEVICE.type, torch.bfloat16) if half else nullcontext


def optimizer_step(cfg: DictConfig, network: nn.Module | None = None) -> Step:
    """What takes optimizer step n from fresh weights: draws, corruption, forward and backward of
    every micro-batch, AdamW, the average of the weights.

    Args:
        cfg: a configuration of train.py.
        network: g(x, s), in place of the configuration's.
    """
    torch.manual_seed(0)
    framework, own = build(cfg)
    network = network or own
    draws = make_draws(cfg, cfg.training.batch_size, framework.num_scalars)
    module = make_module(cfg, framework, network, draws, DEVICE).to(DEVICE)
    optimizer = module.configure_optimizers()
    parameters = list(network.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    update = get_ema_multi_avg_fn(cfg.training.ema_decay)
    parts = cfg.trainer.accumulate_grad_batches
    shape = (cfg.training.batch_size // parts, 3, cfg.image_size, cfg.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE)
    cast = autocast(cfg)

    def step(n: int) -> Tensor:
        for index in range(parts):
            with cast():
                value = module.loss(MicroBatch(images, n, index)) / parts
            value.backward()
        optimizer.step()
        optimizer.zero_grad()
        update(average, parameters, None)
        return value.detach()

    return step
