"""What the benchmarks of speed share: tables of ways, each timed in turn with another.

A benchmark takes tables, archs=, out= and options of train.py, in any order:

    python benchmarks/gpu.py training sampling archs=adm scale=small out=rows.jsonl

It prints Markdown; with ways= only rows whose names this regular expression finds. With out= every
row is also added to that file, one JSON object a line, and what is there is not measured again: the
same command goes on where it was stopped.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from dpi.cli import register_resolvers
from dpi.errors import UserError
from dpi.evaluation.complexity import (
    Step,
    gflops,
    micro_batch_size,
    peak_memory,
    sampling_step,
    training_step,
)
from dpi.precision import forbid_tf32
from dpi.runs.record import device_name

ROOT = Path(__file__).parents[1]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

ROUNDS, REPEATS = 5, 3
"""How often two steps take turns, and how many are taken then, not waited for one by one."""

FINEST = {
    "drunet": ("head.*", "encoder.0.*", "decoder.2.*", "tail.*"),
    "adm": ("encoder.0.*", "encoder.1.*", "encoder.2.*", "decoder.6.*", "decoder.7.*", "out.*"),
}
"""The parameters of the finest level."""


class Table(NamedTuple):
    """What is measured, of which ways."""

    ways: Callable[[str], dict[str, list[str]]]
    """The options of train.py for each way to condition a network, by its name."""

    measure: Callable[[list[str], list[str]], dict[str, Any]]
    """From the options of all ways, and those of one, to the cells of its row."""


def conditionings(arch: str) -> dict[str, list[str]]:
    """Ways to condition a network."""
    sets = f"cond.dpi.include=[{','.join(f'network.{name}' for name in FINEST[arch])}]"
    film = {
        "drunet": {
            "FiLM, first convolutions": ["cond=film", "cond.include=[*.conv1]"],
            "DPI + FiLM, finest level, first convolutions": [
                "cond=dpi+film",
                "cond.film.include=[*.conv1]",
                sets,
            ],
        },
        "adm": {"MLP": ["cond=mlp"], "DPI + MLP, finest level": ["cond=dpi+mlp", sets]},
    }
    return {
        "none": ["cond=ncsnv2"],
        "t map": ["cond=tmap"],
        "sinusoidal map": ["cond=sinusoidal"],
        "DPI, 1 scalar": ["cond=dpi", "training.distinct_scalars=1"],
        "DPI, 8 scalars": ["cond=dpi"],
        "DPI, all distinct": ["cond=dpi", "training.distinct_scalars=null"],
        "DPI, finest level": ["cond=dpi", f"cond.include=[{','.join(FINEST[arch])}]"],
        **film[arch],
        "FiLM": ["cond=film"],
    }


def some(*names: str, options: Sequence[str] = ()) -> Callable[[str], dict[str, list[str]]]:
    """Those of these names, with more options."""
    return lambda arch: {name: [*conditionings(arch)[name], *options] for name in names}


few = some("t map", "DPI, 1 scalar", "DPI, 8 scalars")
compiled = some("t map", "DPI, 1 scalar", "DPI, 8 scalars", options=["trainer.compile=true"])
sampled = some("t map", "DPI, 8 scalars", "FiLM")


def training(options: list[str], own: list[str]) -> dict[str, Any]:
    """An optimizer step on one micro-batch: draws, forward, backward, AdamW, average of weights."""
    cfg = read(*options, *own)
    make = partial(training_step, cfg, DEVICE, autocast(cfg))
    step = make()
    first = seconds(step, 0, 1)
    duration, ratio = against(step, with_tmap(training_step, *options))
    batch = micro_batch_size(cfg)
    return {
        "ms": 1e3 * duration,
        "over t map": ratio,
        # The backward pass takes twice the operations of the forward pass.
        "TFLOP/s": 3 * gflops(cfg)[1] * batch / duration / 1e3,
        "MiB": peak_memory(make, DEVICE)[1],
        "first step, s": first,
        "days": duration * cfg.training.steps * cfg.trainer.accumulate_grad_batches / 86400,
    }


def sampling(options: list[str], own: list[str]) -> dict[str, Any]:
    """A network evaluation of a batch; 50,000 samples of 200 steps, or Table 2, are ten million."""
    cfg = read(*options, *own)
    step = sampling_step(cfg, DEVICE, autocast(cfg))
    duration, ratio = against(step, with_tmap(sampling_step, *options))
    hours = 10e6 / micro_batch_size(cfg) * duration / 3600
    return {"ms": 1e3 * duration, "over t map": ratio, "ten million, h": hours}


@lru_cache(1)  # one beside the step that is measured
def with_tmap(make: Callable[..., Step], *options: str) -> Step:
    """A step of the t map."""
    cfg = read(*options, "cond=tmap")
    return make(cfg, DEVICE, autocast(cfg))


def kernels(options: list[str], own: list[str]) -> dict[str, Any]:
    """What an optimizer step consists of, and how long the CPU takes to launch it."""
    cfg = read(*options, *own)
    step = training_step(cfg, DEVICE, autocast(cfg))
    seconds(step, 0, REPEATS)
    start = time.perf_counter()
    step(REPEATS)
    launching = time.perf_counter() - start
    gpu = DEVICE.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as profiler:
        seconds(step, REPEATS + 1, 1)
    events = profiler.key_averages()
    kind = DeviceType.CUDA if gpu else DeviceType.CPU
    own_times = [event for event in events if event.device_type == kind]
    name = "device" if gpu else "cpu"
    return {
        "kernels": sum(event.count for event in own_times),
        "their time, ms": sum(getattr(e, f"self_{name}_time_total") for e in own_times) / 1e3,
        "of it convolutions, ms": sum(
            getattr(event, f"{name}_time_total")
            for event in events
            if event.key in ("aten::convolution", "aten::convolution_backward")
        ) / 1e3,
        "launching them, ms": 1e3 * launching,
    }  # fmt: skip


def trainer(options: list[str], own: list[str]) -> dict[str, Any]:
    """What train.py makes of the same steps, with images, average, log and progress."""
    cfg = read(*options, *own)
    step = training_step(cfg, DEVICE, autocast(cfg))
    seconds(step, 0, REPEATS)
    alone = seconds(step, REPEATS, 20) * cfg.trainer.accumulate_grad_batches
    shown = ["training.show.log_every=20", "training.show.num_steps=10"]
    with tempfile.TemporaryDirectory() as folder:
        whole = train(folder, cfg.image_size, *options, *own, "training.steps=60", *shown)
        log = pd.read_csv(next(Path(folder).glob("run/log/**/metrics.csv")))
    inside = cfg.training.batch_size / log["images/s"].median()
    cells = {"step alone, ms": 1e3 * alone, "in train.py, ms": 1e3 * inside}
    return cells | {"ratio": inside / alone, "whole command, s": whole}


def train(folder: str, size: int, *options: str) -> float:
    """Run train.py on random images in folder/run; returns the seconds that it took.

    Raises:
        UserError: it failed.
    """
    path = Path(folder) / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (2000, size, size, 3), np.uint8)
    np.savez(path, arr_0=images)
    command = [sys.executable, "train.py", "data=npz", f"data.path={path}", "data.held_out=100"]
    command += [f"data.cache_dir={folder}", f"run={folder}/run", *options]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1])
    return time.perf_counter() - start


def read(*overrides: str) -> DictConfig:
    """A configuration of train.py."""
    register_resolvers()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", ["run=none", *overrides])


def autocast(cfg: DictConfig) -> Callable:
    """The context of a configuration's precision."""
    half = cfg.trainer.precision == "bf16-mixed"
    return partial(torch.autocast, DEVICE.type, torch.bfloat16, enabled=half)


def seconds(step: Step, n: int, repeats: int) -> float:
    """The mean time of steps n, n + 1, ... that are not waited for one by one."""
    wait = torch.cuda.synchronize if DEVICE.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for k in range(repeats):
        step(n + k)
    wait()
    return (time.perf_counter() - start) / repeats


def against(step: Step, baseline: Step) -> tuple[float, float]:
    """The time of a step in seconds, and over that of another: medians over rounds.

    They take turns, so that a clock that changes, or another program, slows both.
    """
    for way in (step, baseline):
        seconds(way, 0, 1)
    times = [
        [seconds(way, 1 + k * REPEATS, REPEATS) for way in (step, baseline)] for k in range(ROUNDS)
    ]
    ratios = [own / other for own, other in times]
    return statistics.median(own for own, _ in times), statistics.median(ratios)


def main(tables: dict[str, Table], about: str, *defaults: str) -> None:
    """Print the tables that the command line names, or all.

    Args:
        tables: by name.
        about: what the benchmark is called.
        defaults: options of train.py in front of those of the command line.
    """
    words = sys.argv[1:]
    own = dict(word.split("=", 1) for word in words if word.startswith(("archs=", "out=", "ways=")))
    options = [word for word in words if word not in tables and word.partition("=")[0] not in own]
    out = Path(own.get("out", os.devnull))
    kept = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    where = {"device": device_name(DEVICE), "torch": torch.__version__}
    forbid_tf32()
    print(f"# {about}\n\n`python {' '.join(sys.argv)}`\n\n{', PyTorch '.join(where.values())}.")
    for name in [word for word in words if word in tables] or tables:
        ways, measure = tables[name]
        print(f"\n## {name.capitalize()}\n\n{measure.__doc__.splitlines()[0]}")
        heads = []
        for arch in own.get("archs", "drunet,adm").split(","):
            shared = [*defaults, f"arch={arch}", *options]
            for way, given in ways(arch).items():
                if not re.search(own.get("ways", ""), way):
                    continue
                key = {
                    "table": name,
                    "network": arch,
                    "": way,
                    "options": [*shared, *given],
                } | where
                cells = next((row["cells"] for row in kept if key.items() <= row.items()), None)
                if cells is None:
                    torch.compiler.reset()
                    try:
                        cells = measure(shared, given)
                    except Exception as error:  # out of memory, say
                        reason = " ".join(str(error).split())[:400] or repr(error)
                        print(f"\nLeft out: {arch}, {way}: {reason}\n", file=sys.stderr)
                        continue
                    with out.open("a") as file:
                        print(json.dumps(key | {"cells": cells}), file=file)
                if not heads:
                    heads = ["network", "", *cells]
                    print(f"\n| {' | '.join(heads)} |\n|---|---|{'--:|' * len(cells)}")
                shown = (f"{of:,.0f}" if of >= 100 else f"{of:.3g}" for of in cells.values())
                print(f"| {' | '.join([arch, way, *shown])} |", flush=True)
