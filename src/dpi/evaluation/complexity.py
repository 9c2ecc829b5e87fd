"""Tables 1 and 4: what a network costs, in parameters, operations, seconds and bytes."""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch.profiler import ProfilerActivity, profile

from dpi.conditioning.bare import bare
from dpi.evaluation.flops import count_flops
from dpi.evaluation.rows import Row
from dpi.frameworks import Framework
from dpi.interpolation import parameter_groups
from dpi.runs import Run, build, sketch
from dpi.training.draws import Draws

Step = Callable[[int], None]


def complexity(
    run: Run, fabric: Fabric, folder: Path, pictures_a_step: int | None, repeats: int
) -> list[Row]:
    """Parameters; GFLOPs of one picture by the paper's accounting and truly; and for a training
    and a sampling step on this device the median time and the peak memory.

    Args:
        run, fabric: of the evaluation; every process measures, the first one's rows count.
        folder: not used, nothing is kept.
        pictures_a_step: None for as many as the run trained with at once.
        repeats: steps that are timed, after one to warm up.
    """
    cfg = run.cfg
    at_once = cfg.training.batch_size // cfg.trainer.accumulate_grad_batches
    batch = pictures_a_step or at_once
    parameters = sum(p.numel() for p in run.network.parameters())
    precision = fabric._precision.precision
    here = {
        "device": device_name(fabric.device),
        "precision": precision,
        "pictures_a_step": batch,
        "distinct_scalars": min(cfg.training.distinct_scalars or batch, batch),
    }
    paper, true = gflops(cfg)
    rows = [Row("parameters", parameters), Row("gflops_paper", paper), Row("gflops_true", true)]
    for name, make in (("training", training_step), ("sampling", sampling_step)):
        fresh = partial(make, cfg, batch, fabric.device, fabric.autocast)
        rows.append(Row(f"{name}_step_s", seconds(fresh(), repeats), settings=here))
        rows.append(Row(f"{name}_peak_mb", peak_memory(fresh, fabric.device), settings=here))
    return rows


def gflops(cfg: DictConfig) -> tuple[float, float]:
    """GFLOPs of one picture through the network that a configuration names: (paper, true)."""
    network = sketch(cfg)
    x = torch.empty(1, 3, cfg.image_size, cfg.image_size, device="meta")
    s = torch.tensor(0)
    return tuple(count_flops(network, x, s, how) / 1e9 for how in ("paper", "true"))


def training_step(cfg: DictConfig, batch: int, device: torch.device, autocast: Callable) -> Step:
    """A function that takes optimizer step n on noise, as training does, from fresh weights."""
    framework, network = _network(cfg, device)
    t = cfg.training
    distinct = min(t.distinct_scalars or batch, batch)
    draws = Draws(0, 1000, batch, framework.num_scalars, distinct, t.stratified)
    groups = parameter_groups(network, t.lr, t.lr_lambda, t.weight_decay_lambda)
    optimizer = torch.optim.AdamW(groups, weight_decay=t.weight_decay, fused=True)
    x = torch.rand(batch, 3, cfg.image_size, cfg.image_size, device=device) * 2 - 1

    def step(n: int) -> None:
        s = draws.scalars(n)
        corrupted, target = framework.corrupt(x, torch.randn_like(x), s)
        with autocast():
            loss = F.mse_loss(network(corrupted, s), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def sampling_step(cfg: DictConfig, batch: int, device: torch.device, autocast: Callable) -> Step:
    """A function that runs the network once over a batch, at scalar n, as sampling does."""
    framework, network = _network(cfg, device)
    network.eval()
    x = torch.randn(batch, 3, cfg.image_size, cfg.image_size, device=device)

    @torch.no_grad()
    def step(n: int) -> None:
        with autocast():
            network(x, torch.tensor(n % framework.num_scalars))

    return step


def seconds(step: Step, repeats: int) -> float:
    """The median time of a step, after one to warm up."""
    times = [timed(step, n) for n in range(repeats + 1)]
    return statistics.median(times[1:])


def timed(step: Step, n: int) -> float:
    """The time of step n, in seconds; waits for the device."""
    start = time.perf_counter()
    step(n)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(make: Callable[[], Step], device: torch.device) -> float:
    """The most that tensors took, from making a step to having taken it twice, in MiB."""

    def take_two() -> None:
        step = make()
        for n in range(2):
            step(n)

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        take_two()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it would talk of itself on stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        take_two()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate(nbytes for _, nbytes in changes)) / 2**20


def device_name(device: torch.device) -> str:
    """What it is called: the GPU's model, or the CPU's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _network(cfg: DictConfig, device: torch.device) -> tuple[Framework, torch.nn.Module]:
    torch.manual_seed(0)
    framework, network = build(cfg)
    network = network.to(device)
    if cfg.trainer.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        bare(network).compile()
    return framework, network
