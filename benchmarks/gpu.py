"""Check and time training and sampling on a GPU.

    python benchmarks/gpu.py                            the paper's networks, 64x64, batch 256
    python benchmarks/gpu.py training archs=drunet      one table of one network, in 2 to 4 minutes
    python benchmarks/gpu.py out=rows.jsonl             goes on where it was stopped

    PYTHONPATH=DPIR:guided-diffusion python benchmarks/gpu.py originals      see cpu.py

Tables: checks, training, compiled, candidates, originals, sampling, trainer, kernels; options: see
steps.py. Results: results/gpu.md.
"""

from collections.abc import Callable
from functools import cache
from typing import Any
from unittest.mock import patch

import steps
import torch
from cpu import as_published, originals
from omegaconf import DictConfig
from steps import DEVICE, Table, autocast, conditionings, few, main, read, sampled, some
from torch import Tensor

from dpi.data import to_unit
from dpi.errors import UserError
from dpi.evaluation.complexity import Step, fresh_module, peak_memory, random_images, training_step
from dpi.interpolation.affine import POSITIONS
from dpi.interpolation.sets import Sets
from dpi.runs.build import build


def checks(options: list[str], own: list[str]) -> dict[str, Any]:
    """Output and gradient of the mini networks in float32, relative to float64 on the CPU."""
    small = [*options, "scale=mini", *own]
    results = []
    for device, dtype in ((torch.device("cpu"), torch.float64), (DEVICE, torch.float32)):
        torch.manual_seed(0)
        cfg = read(*small)
        _, network = build(cfg)
        for parameter in network.parameters():  # some are zero at first
            parameter.data += 0.02 * torch.randn(parameter.shape)
        network.to(device, dtype).eval()
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(8, 3, cfg.image_size, cfg.image_size, generator=generator)
        s = torch.tensor([3, 3, 400, 400, 700, 700, 990, 990])
        output = network(x.to(device, dtype), s)
        output.square().mean().backward()
        gradient = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        results.append([v.detach().cpu().double() for v in (output, torch.cat(gradient))])
    errors = [((a - b).norm() / a.norm()).item() for a, b in zip(*results, strict=True)]
    if max(errors) > 1e-3:
        raise SystemExit(f"the device does not compute what the CPU computes: {errors}")
    if DEVICE.type == "cuda":
        step = training_step(cfg, DEVICE, autocast(cfg))
        step(0)
        torch.cuda.set_sync_debug_mode("error")  # the CPU must not wait for the GPU
        step(1)
        torch.cuda.set_sync_debug_mode("default")
    return dict(zip(("output", "gradient"), errors, strict=True))


def candidates(options: list[str], own: list[str]) -> dict[str, Any]:
    """Other ways to take a step, without dropout, and how far their losses are from train.py's.

    The difference is the greatest relative one of 20 steps from the same without compiling.
    Options of their own: `+by=` is the argument of `by_scalar`, `+positions=` affine.py's constant.
    """
    options = [*options, "arch.dropout=0", "data.random_flip=false", "training.lr=1e-4"]
    cfg, found = read(*options, *own), []
    true = _losses(*options, *(of for of in own if of.startswith(("cond", "training"))))

    def make() -> Step:
        step = (by_scalar if "by" in cfg else training_step)(cfg, DEVICE, autocast(cfg))
        found.extend(float(step(n)) for n in range(len(true)))
        return step

    with patch.dict(POSITIONS, {DEVICE.type: cfg.positions} if "positions" in cfg else {}):
        step, mib = peak_memory(make, DEVICE)
        duration, ratio = steps.against(step, steps.with_tmap(training_step, *options))
    difference = max(abs(a / b - 1) for a, b in zip(found, true, strict=True))
    cells = {"ms": 1e3 * duration, "over t map": ratio, "MiB": mib, "last loss": found[-1]}
    return cells | {"difference": difference}


@cache
def _losses(*options: str) -> list[float]:
    cfg = read(*options)
    step = training_step(cfg, DEVICE, autocast(cfg))
    return [float(step(n)) for n in range(20)]


def by_scalar(cfg: DictConfig, device: torch.device, autocast: Callable) -> Step:
    """`training_step` of DPI for equally many images of each scalar, with all that depends on the
    scalars in tensors on the device.

    cfg.by is "loop", a call of the network for each scalar, or "pass"; either may be followed by
    "graph", for a CUDA graph of the whole step. trainer.compile compiles the call.
    """
    module = fresh_module(cfg, device)
    network, images = module.network, to_unit(random_images(cfg, device))
    optimizer = module.configure_optimizers()
    for group in optimizer.param_groups:
        group["capturable"] = device.type == "cuda"
    parameters = [*network.parameters()]
    averages = [p.detach().clone() for p in parameters]
    noisy, target = images.clone(), images.clone()
    index = torch.arange(len(images), device=device).unflatten(0, (module.draws.count, -1))
    scalars = torch.zeros(len(images), dtype=torch.long, device=device)

    at_once = "pass" in cfg.by

    def call(w: Tensor, x: Tensor) -> Tensor:
        sets = Sets(network.thetas(), network.doubled, network.common)
        if at_once:
            return network._pass(sets, w, ((x,), {}), ((0,), {}), index)
        return network._call(sets, w[:, 0], (x,), {})

    call = torch.compile(call) if cfg.trainer.compile else call

    def whole() -> Tensor:
        optimizer.zero_grad()
        lam = network.interpolation.table().index_select(0, scalars)
        parts = 1 if at_once else len(index)
        with autocast():
            output = [*map(call, torch.stack([1 - lam, lam]).chunk(parts, 1), noisy.chunk(parts))]
            loss = (torch.cat(output).float() - target).square().mean()
        loss.backward()
        optimizer.step()
        torch._foreach_lerp_(averages, parameters, 1e-3)
        return loss.detach()

    run = graphed(whole) if "graph" in cfg.by else whole

    def step(n: int) -> Tensor:
        s, noise = module.draws.scalars(n), module.draws.noise(n, images.shape[1:], device)
        torch._foreach_copy_([noisy, target], [*module.framework.corrupt(images, noise, s)])
        scalars.copy_(s, non_blocking=True)
        return run()

    return step


def graphed(whole: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A function that is called three times, and then is a CUDA graph."""
    if DEVICE.type != "cuda":
        raise UserError("a CUDA graph needs a GPU")
    graph, stream, results = torch.cuda.CUDAGraph(), torch.cuda.Stream(), []

    def run() -> Tensor:
        if len(results) < 4:
            torch.cuda.synchronize()
            first = torch.cuda.stream(stream)
            with first if len(results) < 3 else torch.cuda.graph(graph, stream=stream):
                results.append(whole())
            torch.cuda.synchronize()
        if len(results) == 4:
            graph.replay()
        return results[-1].clone()

    return run


def tried(arch: str) -> dict[str, list[str]]:
    """The candidates, of DPI with eight scalars if nothing else is said; choose some by ways=."""
    other = f"trainer.channels_last={str(arch == 'adm').lower()}"
    ways = {"one pass": [], "1 scalar": ["training.distinct_scalars=1"]}
    ways |= {f"weights from {n}": [f"+positions={n}"] for n in (0, 16384)}
    ways |= {by: [f"+by={by}"] for by in ("loop", "loop graph", "pass graph")}
    ways = {way: ["cond=dpi", "cond.init=independent", *given] for way, given in ways.items()}
    ways |= {"t map": ["cond=tmap"], "FiLM": ["cond=film"]}
    ways |= {f"{way}, compiled": [*given, "trainer.compile=true"] for way, given in ways.items()}
    return ways | {f"{way}, other layout": [*given, other] for way, given in ways.items()}


TABLES = {
    "checks": Table(lambda arch: conditionings(arch) | {"mixture": ["cond=mixture"]}, checks),
    "training": Table(conditionings, steps.training),
    "compiled": Table(steps.compiled, steps.training),
    "candidates": Table(tried, candidates),
    "originals": Table(as_published, originals),
    "sampling": Table(sampled, steps.sampling),
    "trainer": Table(some("DPI, 8 scalars"), steps.trainer),
    "kernels": Table(few, steps.kernels),
}

if __name__ == "__main__":
    main(TABLES, "On a GPU")
