"""One optimizer step of DPI against the same network with a t map: time and peak memory.

    python benchmarks/training_step.py scale=mini
    python benchmarks/training_step.py scale=paper training.batch_size=8 steps=3

Steps of the two are taken in turn, so that a machine whose speed drifts slows both; each pair
gives a ratio, and the median of the ratios is what to quote. Memory is the most that tensors took:
weights, gradients, AdamW's moments and activations.
"""

import statistics
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize
from omegaconf import DictConfig
from torch.profiler import ProfilerActivity, profile

from dpi.conditioning.bare import bare
from dpi.configuration import register_resolvers
from dpi.interpolation import parameter_groups
from dpi.runs import build
from dpi.training.draws import Draws

CONFIGS = "../configs"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read(arch: str, cond: str, overrides: list[str]) -> DictConfig:
    register_resolvers()
    with initialize(config_path=CONFIGS, version_base="1.3"):
        return compose("train", [f"arch={arch}", f"cond={cond}", "run=none", *overrides])


def stepper(cfg: DictConfig) -> Callable[[int], None]:
    """A function that takes optimizer step n on noise, as training does."""
    torch.manual_seed(0)
    framework, network = build(cfg)
    network = network.to(DEVICE)
    if cfg.trainer.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        bare(network).compile()
    t = cfg.training
    draws = Draws(0, 1000, t.batch_size, framework.num_scalars, t.distinct_scalars, t.stratified)
    groups = parameter_groups(network, t.lr, t.lr_lambda)
    optimizer = torch.optim.AdamW(groups, weight_decay=t.weight_decay, fused=True)
    shape = (t.batch_size, 3, cfg.image_size, cfg.image_size)
    x = torch.rand(shape, device=DEVICE) * 2 - 1
    half = DEVICE.type == "cuda" and cfg.trainer.precision == "bf16-mixed"

    def step(n: int) -> None:
        s = draws.scalars(n)
        corrupted, target = framework.corrupt(x, torch.randn_like(x), s)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=half):
            loss = F.mse_loss(network(corrupted, s), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return step


def peak_memory(cfg: DictConfig) -> float:
    """The most that tensors took in making the network and two steps, in MB."""
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        take_two(cfg)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        take_two(cfg)
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate(nbytes for _, nbytes in changes)) / 2**20


def take_two(cfg: DictConfig) -> None:
    step = stepper(cfg)
    for n in range(2):
        step(n)


def compare(arch: str, overrides: list[str], count: int) -> None:
    configs = {cond: read(arch, cond, overrides) for cond in ("tmap", "dpi")}
    steps = {cond: stepper(cfg) for cond, cfg in configs.items()}
    seconds: dict[str, list[float]] = {"tmap": [], "dpi": []}
    for n in range(count + 1):
        for cond, step in steps.items():
            start = time.perf_counter()
            step(n)
            seconds[cond].append(time.perf_counter() - start)
    tmap, dpi = (seconds[cond][1:] for cond in ("tmap", "dpi"))  # the first one warms up
    ratio = statistics.median(b / a for a, b in zip(tmap, dpi, strict=True))
    del steps
    memory = [peak_memory(cfg) for cfg in configs.values()]
    scalars = configs["dpi"].training.distinct_scalars
    print(
        f"| {arch} | {configs['dpi'].training.batch_size} | {scalars} "
        f"| {statistics.median(tmap):.3f} | {statistics.median(dpi):.3f} | {ratio:.2f} "
        f"| {memory[0]:.0f} | {memory[1]:.0f} | {memory[1] / memory[0]:.2f} |",
        flush=True,
    )


def main() -> None:
    overrides = [word for word in sys.argv[1:] if not word.startswith("steps=")]
    count = next((int(w[6:]) for w in sys.argv[1:] if w.startswith("steps=")), 20)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    print(f"`python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}`\n")
    print(
        f"{name}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}; {count} pairs\n"
    )
    print(
        "| network | batch | distinct scalars | t map, s | DPI, s | ratio "
        "| t map, MB | DPI, MB | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for arch in ("drunet", "adm"):
        for scalars in (1, 8):
            if scalars <= read(arch, "dpi", overrides).training.batch_size:
                compare(arch, [*overrides, f"training.distinct_scalars={scalars}"], count)


if __name__ == "__main__":
    main()
