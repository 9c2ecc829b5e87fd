"""One optimizer step of DPI against the same network with a t map: time and peak memory.

    python benchmarks/training_step.py scale=mini
    python benchmarks/training_step.py scale=paper training.batch_size=8 steps=3

Steps of the two alternate, so that a machine whose speed drifts slows both; the ratio is the median
over pairs. Memory is the most that tensors took: weights, gradients, AdamW's moments, the averaged
weights and activations.
"""

import statistics
import sys
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize
from omegaconf import DictConfig

from dpi.cli import register_resolvers
from dpi.evaluation.complexity import peak_memory, timed, training_step
from dpi.training.fit import device_name

CONFIGS = "../configs"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read(arch: str, cond: str, overrides: list[str]) -> DictConfig:
    register_resolvers()
    with initialize(config_path=CONFIGS, version_base="1.3"):
        return compose("train", [f"arch={arch}", f"cond={cond}", "run=none", *overrides])


def compare(arch: str, overrides: list[str], count: int) -> None:
    configs = [read(arch, cond, overrides) for cond in ("tmap", "dpi")]
    batch = configs[0].training.batch_size
    half = DEVICE.type == "cuda" and configs[0].trainer.precision == "bf16-mixed"
    autocast = partial(torch.autocast, DEVICE.type, torch.bfloat16, enabled=half)
    makers = [partial(training_step, cfg, DEVICE, autocast) for cfg in configs]
    steps = [make() for make in makers]
    pairs = [[timed(step, n) for step in steps] for n in range(count + 1)]
    tmap, dpi = zip(*pairs[1:], strict=True)  # the first one warms up
    ratio = statistics.median(b / a for a, b in zip(tmap, dpi, strict=True))
    del steps
    memory = [peak_memory(make, DEVICE) for make in makers]
    print(
        f"| {arch} | {batch} | {configs[0].training.distinct_scalars} "
        f"| {statistics.median(tmap):.3f} | {statistics.median(dpi):.3f} | {ratio:.2f} "
        f"| {memory[0]:.0f} | {memory[1]:.0f} | {memory[1] / memory[0]:.2f} |",
        flush=True,
    )


def main() -> None:
    overrides = [word for word in sys.argv[1:] if not word.startswith("steps=")]
    count = next((int(w[6:]) for w in sys.argv[1:] if w.startswith("steps=")), 20)
    print(f"`python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}`\n")
    print(f"{device_name(DEVICE)}, PyTorch {torch.__version__}; {count} pairs\n")
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
