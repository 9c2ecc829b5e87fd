"""Check and time training, sampling and evaluation on a GPU, in under eight minutes.

    python benchmarks/gpu.py                        the paper's networks, 64x64, batch 256
    python benchmarks/gpu.py scale=small            any option of train.py
    python benchmarks/gpu.py minutes=5 rounds=2     stop earlier, repeat less
    python benchmarks/gpu.py only=checks,training   or sampling, evaluation, trainer, kernels
    python benchmarks/gpu.py archs=adm              one network

Prints Markdown, see results/gpu.md. The ways that are compared run in turn, so that a change of the
clock affects all of them; times are medians over rounds, ratios are to the t map in the same run.
What there was no time or memory for is named.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from steps import (
    ARCHS,
    DEVICE,
    ROOT,
    Step,
    images_per_second,
    in_turn,
    medians,
    network_evaluations,
    optimizer_step,
    profiled,
    read,
    seconds,
    table2,
    train,
)

from dpi.errors import UserError
from dpi.evaluation.complexity import gflops
from dpi.evaluation.features import Extractor
from dpi.precision import forbid_tf32
from dpi.runs.build import build
from dpi.training.fit import device_name

OPTIONS = ("minutes", "rounds", "repeats", "steps", "only", "archs")

FINEST = {
    "drunet": ("head.*", "encoder.0.*", "decoder.2.*", "tail.*"),
    "adm": ("encoder.0.*", "encoder.1.*", "encoder.2.*", "decoder.6.*", "decoder.7.*", "out.*"),
}
"""The parameters of the finest level."""


def ways(arch: str) -> dict[str, list[str]]:
    """The ways to train a network, in the order in which they are left out when time runs out."""
    finest = f"cond.include=[{','.join(FINEST[arch])}]"
    sets = f"cond.dpi.include=[{','.join(f'network.{name}' for name in FINEST[arch])}]"
    film, alone, combined = {
        "drunet": (
            "FiLM of first convolutions",
            ["cond=film", "cond.include=[*.conv1]"],
            ["cond=dpi+film", "cond.film.include=[*.conv1]", sets],
        ),
        "adm": ("MLP", ["cond=mlp"], ["cond=dpi+mlp", sets]),
    }[arch]
    one = ["cond=dpi", "training.distinct_scalars=1"]
    return {
        "t map": ["cond=tmap"],
        "DPI, 1 scalar": one,
        "DPI, 8 scalars": ["cond=dpi"],
        "DPI of the finest level, 8 scalars": ["cond=dpi", finest],
        film: alone,
        f"{film}, DPI of the finest level, 8 scalars": combined,
        "DPI, 8 scalars, 8 micro-batches": ["cond=dpi", "trainer.accumulate_grad_batches=8"],
        "FiLM": ["cond=film"],
        "t map, channels-last": ["cond=tmap", "trainer.channels_last=true"],
        "t map, contiguous": ["cond=tmap", "trainer.channels_last=false"],
        "t map, compiled": ["cond=tmap", "trainer.compile=true"],
        "DPI, 1 scalar, compiled": [*one, "trainer.compile=true"],
        "DPI, 8 scalars, compiled": ["cond=dpi", "trainer.compile=true"],
    }


@contextmanager
def no_waits() -> Iterator[None]:
    """Fails if the CPU waits for the GPU."""
    mode = torch.cuda.set_sync_debug_mode if DEVICE.type == "cuda" else lambda _: None
    mode("error")
    try:
        yield
    finally:
        mode("default")


def device_rates() -> float:
    """Print what the device is capable of; returns its bfloat16 products in TFLOP/s."""
    size = 8192 if DEVICE.type == "cuda" else 256
    a, b = torch.randn(2, size, size, device=DEVICE, dtype=torch.bfloat16)
    big = torch.empty(size * size * 16, device=DEVICE)
    out = torch.empty_like(big)
    steps = {"product": lambda _: a @ b, "copy": lambda _: out.copy_(big)}
    for step in steps.values():
        seconds(step, 0, 3)
    times = medians(in_turn(steps, 3, 5))
    rate = 2 * size**3 / times["product"] / 1e12
    print(
        f"{device_name(DEVICE)}, PyTorch {torch.__version__}. A product of {size} x {size} "
        f"matrices in bfloat16: {rate:.0f} TFLOP/s; a copy: "
        f"{2 * 4 * big.numel() / times['copy'] / 1e12:.2f} TB/s.\n",
        flush=True,
    )
    return rate


def checks(archs: list[str], overrides: list[str]) -> None:
    """Print how far the device is from float64 on the CPU; fail if it is too far, or waits."""
    print("## Checks\n")
    print("Loss and gradients of the mini networks in float32, relative to float64 on the CPU; no")
    print("waiting for the device within a step.\n")
    print("| network | conditioning | output | gradient |\n|---|---|--:|--:|")
    for arch in archs:
        for cond in ("tmap", "dpi", "mixture", "film", "dpi+film"):
            small = ["scale=mini", "effort=mini", f"arch={arch}", f"cond={cond}"]
            cfg = read(*small, "trainer.precision=32-true")
            errors = compare_with_cpu(cfg)
            print(f"| {arch} | {cond} | {errors[0]:.1e} | {errors[1]:.1e} |", flush=True)
            if max(errors) > 1e-3:
                raise SystemExit("the device does not compute what the CPU computes")
            step = optimizer_step(read(*small, *overrides))
            step(0)
            with no_waits():
                step(1)
    print(flush=True)


def compare_with_cpu(cfg: DictConfig) -> list[float]:
    """The relative errors of prediction and gradient, for samples of four scalars."""
    results = []
    for device, dtype in ((torch.device("cpu"), torch.float64), (DEVICE, torch.float32)):
        torch.manual_seed(0)
        _, network = build(cfg)
        for parameter in network.parameters():  # some are zero at first
            parameter.data += 0.02 * torch.randn(parameter.shape)
        network.to(device, dtype).eval()
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(8, 3, cfg.image_size, cfg.image_size, generator=generator)
        s = torch.tensor([3, 3, 400, 400, 700, 700, 990, 990])
        prediction = network(x.to(device, dtype), s)
        prediction.square().mean().backward()
        gradient = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        results.append([v.detach().cpu().double() for v in (prediction, torch.cat(gradient))])
    return [((a - b).norm() / a.norm()).item() for a, b in zip(*results, strict=True)]


def training(
    arch: str,
    compiled: bool,
    overrides: list[str],
    rounds: int,
    repeats: int,
    rate: float,
    end: float,
) -> list[str]:
    """Print the time, operations and memory of an optimizer step; returns what was left out.

    Each way takes turns with the t map, so that the memory of two is enough. What would begin less
    than ten seconds before `end`, a minute if it is to be compiled, is left out.
    """
    left_out = []
    baseline = optimizer_step(read(f"arch={arch}", *overrides, "cond=tmap"))
    seconds(baseline, 0, 3)
    for name, own in ways(arch).items():
        cfg = read(f"arch={arch}", *overrides, *own)
        if cfg.trainer.compile != compiled:
            continue
        if compiled and DEVICE.type == "cpu":
            left_out.append(f"{arch}, {name}: it takes minutes on a CPU")
            continue
        if end - time.monotonic() < (60 if compiled else 10):
            left_out.append(f"{arch}, {name}: no time")
            continue
        torch.compiler.reset()
        try:
            step, first, peak = warmed_up(cfg)
            times = medians(in_turn({"t map": baseline, "way": step}, rounds, repeats))
        except (RuntimeError, UserError) as error:  # out of memory, or what the compiler cannot do
            left_out.append(f"{arch}, {name}: {str(error).strip().splitlines()[0]}")
            continue
        duration, batch = times["way"], cfg.training.batch_size
        # The backward pass takes twice the operations of the forward pass.
        tflops = 3 * gflops(cfg)[1] * batch / duration / 1e3
        print(
            f"| {arch} | {name} | {1e3 * duration:.1f} | {duration / times['t map']:.3f} "
            f"| {batch / duration:.0f} | {tflops:.0f} | {100 * tflops / rate:.0f} % "
            f"| {peak:.1f} | {first:.0f} | {duration * cfg.training.steps / 86400:.2f} |",
            flush=True,
        )
    return left_out


def warmed_up(cfg: DictConfig) -> tuple[Step, float, float]:
    """A step, the seconds to the end of the first one, and the most GiB of two more."""
    if DEVICE.type != "cuda":
        step = optimizer_step(cfg)
        return step, seconds(step, 0, 1), 0.0
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    step = optimizer_step(cfg)
    first = seconds(step, 0, 1)
    torch.cuda.reset_peak_memory_stats()
    seconds(step, 1, 2)
    return step, first, (torch.cuda.max_memory_allocated() - before) / 2**30


def sampling(arch: str, overrides: list[str], rounds: int, repeats: int) -> None:
    """Print the time of a network evaluation as a sampler makes them."""
    batch = read(*overrides).training.batch_size
    steps = network_evaluations(arch, *overrides)
    for step in steps.values():
        seconds(step, 0, 3)
    times = medians(in_turn(steps, rounds, repeats))
    for name, duration in times.items():
        hours = 200 * 50_000 / batch * duration / 3600
        print(
            f"| {arch} | {name} | {1e3 * duration:.2f} | {duration / times['t map']:.3f} "
            f"| {hours:.2f} |",
            flush=True,
        )


def evaluation(arch: str, overrides: list[str], rounds: int) -> None:
    """Print the time of Table 2's errors and of the features of FID."""
    pictures = 500 if DEVICE.type == "cuda" else 4
    steps = table2(arch, pictures, *overrides)
    for step in steps.values():
        seconds(step, 0, 1)
    for name, duration in medians(in_turn(steps, rounds, 2)).items():
        hours = 20_000 * duration / 3600 * (500 / pictures)
        print(f"| {arch} | Table 2: {name} | {1e3 * duration:.0f} ms | {hours:.2f} |", flush=True)


def features(rounds: int) -> None:
    """Print the time of Inception's features; its weights are random, which costs the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.pth")
        random_inception = ROOT / "tests" / "evaluation" / "random_inception.py"
        subprocess.run([sys.executable, random_inception, path], check=True)
        extractor = Extractor(weights=path, device=DEVICE)
    batch = 250 if DEVICE.type == "cuda" else 2
    images = np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), np.uint8)

    def step(_: int) -> None:
        extractor(images)

    seconds(step, 0, 2)
    duration = statistics.median(in_turn({"": step}, rounds, 2)[""])
    hours = 50_000 / batch * duration / 3600
    print(f"| Inception | features of 50,000 images | {1e3 * duration:.0f} ms | {hours:.2f} |")


def trainer(arch: str, overrides: list[str], steps: int) -> None:
    """Print what train.py makes of the same optimizer steps: images, EMA, log, progress."""
    cfg = read(*overrides)
    options = [f"arch={arch}", "cond=dpi", f"training.steps={steps}", *overrides]
    options += [f"training.show.log_every={steps // 3}"]
    options += ["training.show.num_steps=10", "training.show.num_images=4"]
    with tempfile.TemporaryDirectory() as folder:
        whole = train(folder, cfg.image_size, *options)
        inside = cfg.training.batch_size / images_per_second(folder)
    step = optimizer_step(read(f"arch={arch}", "cond=dpi", *overrides))
    seconds(step, 0, 3)
    bare = seconds(step, 3, max(3, steps // 3))
    print(
        f"| {arch} | {1e3 * bare:.1f} | {1e3 * inside:.1f} | {inside / bare:.3f} | {whole:.0f} |",
        flush=True,
    )


def kernels(arch: str, overrides: list[str]) -> None:
    """Print what a step consists of: how many kernels, how long they run, and how long the CPU
    takes to launch them; the step takes as long as the slower of the two."""
    for name in ("t map", "DPI, 1 scalar", "DPI, 8 scalars", "FiLM"):
        step = optimizer_step(read(f"arch={arch}", *overrides, *ways(arch)[name]))
        seconds(step, 0, 3)
        start = time.perf_counter()
        step(3)
        launching = time.perf_counter() - start
        found = profiled(step)
        print(
            f"| {arch} | {name} | {found.kernels} | {found.milliseconds:.1f} "
            f"| {found.convolutions:.1f} | {1e3 * launching:.1f} |",
            flush=True,
        )
        del step


def main() -> None:
    own = dict(a.split("=") for a in sys.argv[1:] if a.split("=")[0] in OPTIONS)
    overrides = [a for a in sys.argv[1:] if a.split("=")[0] not in OPTIONS]
    rounds, repeats = int(own.get("rounds", 5)), int(own.get("repeats", 4))
    only = own.get("only", "checks,sampling,evaluation,trainer,kernels,training").split(",")
    archs = own.get("archs", ",".join(ARCHS)).split(",")
    end = time.monotonic() + 60 * float(own.get("minutes", 7.5))
    forbid_tf32()
    print(f"`python benchmarks/gpu.py {' '.join(sys.argv[1:])}`\n")
    rate = device_rates()
    if "checks" in only:
        checks(archs, overrides)
    if "sampling" in only:
        print("## Sampling: one network evaluation\n")
        print("| network | | ms | over t map | hours for 50,000 samples of 200 steps |")
        print("|---|---|--:|--:|--:|")
        for arch in archs:
            sampling(arch, overrides, rounds, repeats)
    if "evaluation" in only:
        print("\n## Evaluation\n")
        print("Noise is drawn in a thread beside the network, so the larger of the two counts.\n")
        print("| network | | a unit | hours in all |\n|---|---|--:|--:|")
        for arch in archs:
            evaluation(arch, overrides, rounds)
        features(rounds)
    if "trainer" in only:
        print("\n## train.py: images, EMA, logging and progress around the optimizer step\n")
        print("| network | step alone, ms | in train.py, ms | ratio | whole command, s |")
        print("|---|--:|--:|--:|--:|")
        for arch in archs:
            trainer(arch, overrides, int(own.get("steps", 60)))
    if "kernels" in only:
        print("\n## What an optimizer step consists of\n")
        print(
            "| network | | kernels | their time, ms | of it convolutions, ms | launching them, ms |"
        )
        print("|---|---|--:|--:|--:|--:|")
        for arch in archs:
            kernels(arch, overrides)
    if "training" not in only:
        return
    print("\n## Training: one optimizer step\n")
    print(
        "| network | | ms | over t map | images/s | TFLOP/s | of the product | GiB | first step, s "
        "| days |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    left_out: list[str] = []
    for compiled in (False, True):
        for arch in archs:
            left_out += training(arch, compiled, overrides, rounds, repeats, rate, end)
    for line in left_out:
        print(f"\nLeft out: {line}.")


if __name__ == "__main__":
    main()
