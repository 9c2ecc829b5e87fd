"""Tables 1 and 4: what a network costs, in parameters, operations, seconds and bytes."""

import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.profiler import ProfilerActivity, profile

from dpi.evaluation.flops import count_flops, step_flops
from dpi.runs.build import build, build_meta, image_shape
from dpi.runs.check import Count
from dpi.runs.record import device_name
from dpi.runs.rows import Row
from dpi.runs.run import Run
from dpi.training.draws import Draws
from dpi.training.module import MicroBatch, TrainingModule

Step = Callable[[int], Tensor | None]
"""Of number n; returns the loss, if there is one."""


def complexity(run: Run, fabric: Fabric, folder: Path, repeats: Count) -> list[Row]:
    """Parameters; GFLOPs of one image by the paper's accounting and truly; and for an optimizer
    step on one micro-batch and for a sampling step, on this device, the median time, the peak
    memory and the GFLOPs an image.

    Args:
        run, fabric: of the evaluation; every process measures, the first one's rows count.
        folder: not used, nothing is kept.
        repeats: steps that are timed, after one to warm up.
    """
    cfg = run.cfg
    size = micro_batch_size(cfg)
    draws = Draws(cfg.training, cfg.seed, size, run.framework.num_scalars)
    here = {
        "device": device_name(fabric.device),
        "precision": fabric.strategy.precision.precision,
        "micro_batch": size,
        "distinct_scalars": len(draws.scalars(0)[:size].unique()),
    }
    if cfg.trainer.compile:
        here["compile"] = True
        torch.compiler.reset()  # else later runs would pass its limit, and be eager
    parameters = sum(p.numel() for p in run.network.parameters())
    paper, true = gflops(cfg)
    rows = [Row("parameters", parameters), Row("gflops_paper", paper), Row("gflops_true", true)]
    for name, make in (("training", training_step), ("sampling", sampling_step)):
        make = partial(make, cfg, fabric.device, fabric.autocast)
        with torch.compiler.set_stance("default"):  # as trained
            step, mib = peak_memory(make, fabric.device)
            rows.append(Row(f"{name}_step_s", seconds(step, repeats), settings=here))
        rows.append(Row(f"{name}_peak_mib", mib, settings=here))
        with torch.compiler.set_stance("force_eager"):  # FLOPs are counted call by call
            products = step_flops(step)
        rows.append(Row(f"{name}_gflops", products / size / 1e9, settings=here))
    return rows


def gflops(cfg: DictConfig) -> tuple[float, float]:
    """GFLOPs of one image through the network that a configuration names: (paper, true)."""
    network = build_meta(cfg)
    x = torch.empty(1, *image_shape(cfg), device="meta")
    s = torch.tensor(0)
    return tuple(count_flops(network, x, s, how) / 1e9 for how in ("paper", "true"))


def micro_batch_size(cfg: DictConfig) -> int:
    """Images of a micro-batch, on one device."""
    return cfg.training.batch_size // cfg.trainer.accumulate_grad_batches


def training_step(cfg: DictConfig, device: torch.device, autocast: Callable) -> Step:
    """A function that takes optimizer step n from fresh weights, on the first micro-batch of the
    step: corruption, forward, backward, AdamW and the average of the weights."""
    module = fresh_module(cfg, device)
    optimizer = module.configure_optimizers()
    averaged = AveragedModel(module.network, multi_avg_fn=get_ema_multi_avg_fn())
    images = random_images(cfg, device)

    def step(n: int) -> Tensor:
        with autocast():
            loss = module.loss(MicroBatch(images, n, 0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(module.network)
        return loss.detach()

    return step


def sampling_step(cfg: DictConfig, device: torch.device, autocast: Callable) -> Step:
    """A function that runs the network once over as many images, at scalar n, as sampling does."""
    module = fresh_module(cfg, device).eval()
    x = torch.randn(random_images(cfg, device).shape, device=device)

    @torch.no_grad()
    def step(n: int) -> None:
        with autocast():
            module.network(x, torch.tensor(n % module.framework.num_scalars))

    return step


def seconds(step: Step, repeats: int) -> float:
    """The median time of a step that has been taken before; waits for the device."""
    times = []
    for n in range(repeats):
        start = time.perf_counter()
        step(n)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_memory(make: Callable[[], Step], device: torch.device) -> tuple[Step, float]:
    """A step, made and taken twice; and the most that tensors took meanwhile, in MiB."""

    def take_two() -> Step:
        step = make()
        for n in range(2):
            step(n)
        return step

    if device.type == "cuda":
        gc.collect()  # what earlier steps left
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step = take_two()
        return step, (torch.cuda.max_memory_allocated(device) - before) / 2**20
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler writes to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = take_two()
    with TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    return step, max(accumulate(nbytes for _, nbytes in changes)) / 2**20


def fresh_module(cfg: DictConfig, device: torch.device) -> TrainingModule:
    """What trains the network of a configuration, with its first weights."""
    torch.manual_seed(0)
    framework, network = build(cfg)
    module = TrainingModule(cfg, framework, network, cfg.training.batch_size)
    module.lay_out(device)
    return module.to(device)


def random_images(cfg: DictConfig, device: torch.device) -> Tensor:
    """A micro-batch of them, uint8."""
    shape = (micro_batch_size(cfg), *image_shape(cfg))
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
