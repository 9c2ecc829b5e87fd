"""What the benchmarks of speed share: what is timed, and how."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.profiler import ProfilerActivity, profile

from dpi.cli import register_resolvers
from dpi.frameworks import loss
from dpi.frameworks.draw import start_noise
from dpi.runs.build import build, image_shape, set_memory_format
from dpi.training.fit import make_draws, make_module
from dpi.training.module import MicroBatch

ROOT = Path(__file__).parents[1]
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


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """The median time of each step, in seconds."""
    return {name: statistics.median(own) for name, own in times.items()}


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
    optimizer = module.optimizer()
    parameters = list(network.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    update = get_ema_multi_avg_fn(cfg.training.ema_decay)
    parts = cfg.trainer.accumulate_grad_batches
    shape = (cfg.training.batch_size // parts, *image_shape(cfg))
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


class Profile(NamedTuple):
    """What a step consists of."""

    kernels: int
    """How many on a GPU, how many of PyTorch's operations on a CPU."""
    milliseconds: float
    """How long they run."""
    convolutions: float
    """Milliseconds of it in convolutions, their gradients included."""


def profiled(step: Step) -> Profile:
    """A look at one step by PyTorch's profiler."""
    gpu = DEVICE.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as profiler:
        seconds(step, 4, 1)
    events = profiler.key_averages()
    device = DeviceType.CUDA if gpu else DeviceType.CPU
    own = [event for event in events if event.device_type == device]
    kind = "device" if gpu else "cpu"
    convolutions = ("aten::convolution", "aten::convolution_backward")
    within = [event for event in events if event.key in convolutions]
    return Profile(
        sum(event.count for event in own),
        sum(getattr(event, f"self_{kind}_time_total") for event in own) / 1e3,
        sum(getattr(event, f"{kind}_time_total") for event in within) / 1e3,
    )


def network_evaluations(arch: str, *options: str) -> dict[str, Step]:
    """A network evaluation of a training batch, as a sampler makes them, at three scalars in turn.

    Args:
        arch, options: of train.py.
    """
    scalars = [torch.tensor(t) for t in (995, 500, 0)]
    cfg = read(f"arch={arch}", *options)
    x = start_noise(0, range(cfg.training.batch_size), image_shape(cfg)).to(DEVICE)
    cast = autocast(cfg)
    tmap, dpi = (
        _in_evaluation(build(read(f"arch={arch}", *options, f"cond={cond}"))[1])
        for cond in ("tmap", "dpi")
    )

    def evaluate(n: int, g: Callable) -> None:
        with cast(), torch.inference_mode():
            g(x, scalars[n % 3])

    return {"t map": partial(evaluate, g=tmap), "DPI": partial(evaluate, g=dpi)}


def table2(arch: str, count: int, *options: str) -> dict[str, Step]:
    """The errors of Table 2 for one draw of noise at one scalar, and the draw, which a thread
    makes beside the network.

    Args:
        arch, options: of train.py.
        count: how many images, 500 in the paper.
    """
    cfg = read(f"arch={arch}", "cond=dpi", *options)
    framework, network = build(cfg)
    _in_evaluation(network)
    x = start_noise(0, range(count), image_shape(cfg)).to(DEVICE)

    def errors(n: int, cast: Callable) -> None:
        with cast(), torch.inference_mode():
            for part in x.split(250):
                loss(network, framework, part, part, torch.tensor(n % 1000))

    def noise(n: int) -> None:
        np.random.default_rng(n).standard_normal((count, *x.shape[1:]), np.float32)

    return {
        "float32": partial(errors, cast=nullcontext),
        "bfloat16": partial(errors, cast=partial(torch.autocast, DEVICE.type, torch.bfloat16)),
        "noise": noise,
    }


def _in_evaluation(network: nn.Module) -> nn.Module:
    network.to(DEVICE).eval()
    set_memory_format(network, DEVICE)
    return network


def train(folder: str, size: int, *options: str, fails: bool = False) -> float:
    """Run train.py on random images, in its run's folder or in folder/run.

    Args:
        folder: keeps the images for the next time.
        size: of the images.
        options: of train.py.
        fails: whether it is to fail.

    Returns:
        The seconds that it took.

    Raises:
        SystemExit: it failed, or did not, against expectations.
    """
    path = Path(folder) / "images.npz"
    if not path.exists():
        images = np.random.default_rng(0).integers(0, 256, (2000, size, size, 3), np.uint8)
        np.savez(path, arr_0=images)
    command = [sys.executable, "train.py", "data=npz", f"data.path={path}", "data.held_out=100"]
    command += [f"data.cache_dir={folder}", f"run={folder}/run", *options]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    duration = time.perf_counter() - start
    if bool(done.returncode) != fails:
        raise SystemExit((done.stderr.strip() or "train.py did not fail").splitlines()[-1])
    return duration


def images_per_second(folder: str) -> float:
    """The median of what the run in folder/run logged."""
    metrics = next(Path(folder).glob("run/**/metrics.csv"))
    return pd.read_csv(metrics)["images/s"].median()
