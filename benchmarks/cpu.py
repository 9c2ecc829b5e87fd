"""Time training, sampling, evaluation, compiling and starting on a CPU.

    python benchmarks/cpu.py
    python benchmarks/cpu.py dpir=FOLDER guided_diffusion=FOLDER    beside the public originals
    python benchmarks/cpu.py only=steps,originals rounds=15

Prints Markdown, see docs/PERFORMANCE.md. dpir and guided_diffusion are clones of
github.com/cszn/DPIR and github.com/openai/guided-diffusion, whose networks train beside ours with
the same widths, blocks, dropout and optimizer. Steps take turns; ratios are medians over rounds.
"""

import importlib
import statistics
import sys
import tempfile

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from steps import (
    ARCHS,
    Step,
    images_per_second,
    in_turn,
    medians,
    network_evaluations,
    optimizer_step,
    profiled,
    ratio,
    read,
    seconds,
    table2,
    train,
)
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dpi.evaluation.complexity import gflops, peak_memory
from dpi.reporting.labels import label
from dpi.runs.build import build
from dpi.training.datamodule import VAL_IMAGES, VAL_SCALARS
from dpi.training.draws import Draws
from dpi.training.fit import device_name

CPU = torch.device("cpu")
SIZES = {
    "16x16": ["scale=mini"],
    "32x32": ["scale=small", "training.batch_size=32"],
}
"""Options of train.py; a batch is of 32 images in both."""

ONE_SAMPLE = (
    "training.show.every=1000000",
    "training.show.num_images=1",
    "training.show.num_steps=1",
)


class Bare(nn.Module):
    """A network that is not conditioned on the scalar.

    Args:
        f: the network.
    """

    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """f(x)."""
        return self.f(x)


class WithTime(Bare):
    """A network with an embedding of the step."""

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """f(x, t)."""
        return self.f(x, s.expand(len(x)))


def bare(cfg: DictConfig) -> Step:
    """An optimizer step of the network itself."""
    return optimizer_step(cfg, Bare(instantiate(cfg.arch)))


def table(*columns: str) -> None:
    """Print the head of a table; the first column is of text."""
    print("\n| " + " | ".join(columns) + " |\n|---|" + "--:|" * (len(columns) - 1), flush=True)


def row(*values: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, values)) + " |", flush=True)


def steps(rounds: int) -> None:
    """One optimizer step, over the same network bare."""
    table(
        "network",
        "bare, ms",
        "t map",
        "DPI, 1 scalar",
        "DPI, 8 scalars",
        "FiLM",
    )
    for size, options in SIZES.items():
        for arch in ARCHS:

            def conditioned(*own: str, arch: str = arch, options: list[str] = options) -> Step:
                return optimizer_step(read(f"arch={arch}", *options, *own))

            ways = {
                "bare": bare(read(f"arch={arch}", *options)),
                "tmap": conditioned("cond=tmap"),
                "one": conditioned("cond=dpi", "training.distinct_scalars=1"),
                "eight": conditioned("cond=dpi"),
                "film": conditioned("cond=film"),
            }
            for way in ways.values():
                way(0)
            times = in_turn(ways, rounds, 1)
            milliseconds = f"{1e3 * medians(times)['bare']:.0f}"
            ratios = [f"{ratio(times[way], times['bare']):.2f}" for way in list(ways)[1:]]
            row(f"{label(arch)}, {size}", milliseconds, *ratios)


def compiled(rounds: int) -> None:
    """One optimizer step with trainer.compile=true, and after how many it has paid for itself."""
    table("network", "ms", "compiled", "until the first step, s", "steps to win that back")
    for arch in ARCHS:
        for name, own in (
            ("t map", ["cond=tmap"]),
            ("DPI, 1 scalar", ["cond=dpi", "training.distinct_scalars=1"]),
            ("DPI, 8 scalars", ["cond=dpi"]),
        ):
            options = [f"arch={arch}", *SIZES["16x16"], *own]
            ways = {
                "eager": optimizer_step(read(*options)),
                "compiled": optimizer_step(read(*options, "trainer.compile=true")),
            }
            ways["eager"](0)
            first = seconds(ways["compiled"], 0, 1)
            ways["compiled"](1)
            times = in_turn(ways, rounds, 3)
            eager, faster = medians(times).values()
            gain = eager - faster
            steps = f"{first / gain:,.0f}" if gain > 0 else "never"
            ours = f"{ratio(times['compiled'], times['eager']):.2f}"
            row(f"{label(arch)}, {name}", f"{1e3 * eager:.0f}", ours, f"{first:.0f}", steps)
            torch.compiler.reset()


def originals(rounds: int, dpir: str | None, guided_diffusion: str | None) -> None:
    """Our networks over the public ones, 32x32."""
    table("network", "original, ms", "of it convolutions", "ours over it", "ours, channels last")
    options = [*SIZES["32x32"], "training.distinct_scalars=1"]
    if dpir is None:
        print("Left out: DPIR's UNetRes, without dpir=FOLDER.")
    else:
        sys.path.insert(0, dpir)
        unet = importlib.import_module("models.network_unet").UNetRes
        for dropout in (0.1, 0.0):
            cfg = read("arch=drunet", *options, f"arch.dropout={dropout}")
            arch = cfg.arch
            theirs = unet(3, 3, list(arch.channels), arch.num_blocks)
            ours = [Bare(instantiate(arch)) for _ in range(2)]
            compare(f"DPIR's UNetRes; ours with dropout {dropout}", cfg, Bare(theirs), ours, rounds)
    if guided_diffusion is None:
        print("Left out: guided-diffusion's UNetModel, without guided_diffusion=FOLDER.")
    else:
        sys.path.insert(0, guided_diffusion)
        unet = importlib.import_module("guided_diffusion.unet").UNetModel
        cfg = read("arch=adm", *options)
        arch = cfg.arch
        theirs = unet(
            image_size=arch.image_size,
            in_channels=3,
            model_channels=arch.base_channels,
            out_channels=3,
            num_res_blocks=arch.num_res_blocks,
            attention_resolutions=[arch.image_size // n for n in arch.attention_resolutions],
            dropout=arch.dropout,
            channel_mult=tuple(arch.channel_mult),
            num_head_channels=arch.head_channels,
            use_scale_shift_norm=True,
            resblock_updown=True,
        )
        ours = [WithTime(instantiate(arch, time_embedding=True)) for _ in range(2)]
        compare(
            "guided-diffusion's UNetModel, with its embedding", cfg, WithTime(theirs), ours, rounds
        )


def compare(
    name: str, cfg: DictConfig, theirs: nn.Module, ours: list[nn.Module], rounds: int
) -> None:
    """Print the times of their network and of two of ours, which have as many parameters."""
    counts = [sum(p.numel() for p in net.parameters()) for net in (theirs, ours[0])]
    if counts[0] != counts[1]:
        raise SystemExit(f"{name}: {counts[0]} parameters, ours have {counts[1]}")
    ways = {"theirs": optimizer_step(cfg, theirs), "ours": optimizer_step(cfg, ours[0])}
    cfg.trainer.channels_last = True
    ways["last"] = optimizer_step(cfg, ours[1])
    for way in ways.values():
        way(0)
    times = in_turn(ways, rounds, 1)
    found = profiled(ways["theirs"])
    row(
        name,
        f"{1e3 * medians(times)['theirs']:.0f}",
        f"{100 * found.convolutions / found.milliseconds:.0f} %",
        f"{ratio(times['ours'], times['theirs']):.2f}",
        f"{ratio(times['last'], times['theirs']):.2f}",
    )


def memory() -> None:
    """What a doubled parameter takes: theta1, two moments, its average, theta(s)."""
    table("network", "bare, MiB", "DPI, MiB", "bytes a doubled parameter")
    for size, options in SIZES.items():
        for arch in ARCHS:
            cfg = read(f"arch={arch}", "cond=dpi", *options, "training.distinct_scalars=1")
            count = sum(p.numel() for p in instantiate(cfg.arch).parameters())
            plain = peak_memory(lambda cfg=cfg: bare(cfg), CPU)
            dpi = peak_memory(lambda cfg=cfg: optimizer_step(cfg), CPU)
            each = (dpi - plain) * 2**20 / count
            row(f"{label(arch)}, {size}", f"{plain:.0f}", f"{dpi:.0f}", f"{each:.1f}")


def shares(rounds: int) -> None:
    """What surrounds the network, as a share of the step, with DPI and eight scalars."""
    columns = ["step, ms", "noise", "images", "averaged weights", "validation"]
    table("network", *columns, "train.py over the step")
    for arch in ARCHS:
        cfg = read(f"arch={arch}", "cond=dpi", *SIZES["16x16"])
        size = cfg.image_size
        draws = Draws(0, 20_000, cfg.training.batch_size, 1000, 8, True)
        images = np.random.default_rng(0).integers(0, 256, (20_000, 3, size, size), np.uint8)
        network = build(cfg)[1]
        held_out = torch.zeros(VAL_IMAGES, 3, size, size)
        parameters = [p.detach() for p in network.parameters()]
        average = [p.clone() for p in parameters]
        update = get_ema_multi_avg_fn(0.99)
        ways = {
            "step": optimizer_step(cfg),
            "noise": lambda n, draws=draws, size=size: draws.noise(n, (3, size, size), CPU),
            "images": lambda n, draws=draws, images=images: torch.from_numpy(
                images[draws.images(n).numpy()]
            ),
            "average": lambda n, a=average, p=parameters, update=update: update(a, p, None),
            "validation": torch.no_grad()(lambda n, g=network, x=held_out: g(x, torch.tensor(n))),
        }
        for way in ways.values():
            way(0)
        times = in_turn(ways, rounds, 3)
        parts = [ratio(times[way], times["step"]) for way in list(ways)[1:]]
        parts[-1] *= VAL_SCALARS / cfg.training.show.every
        step = statistics.median(times["step"])
        whole = in_train_py(arch) / step
        row(
            label(arch),
            f"{1e3 * step:.0f}",
            *(f"{100 * part:.1f} %" for part in parts),
            f"{whole:.2f}",
        )


def in_train_py(arch: str) -> float:
    """Seconds a step of train.py, as it logs them."""
    with tempfile.TemporaryDirectory() as folder:
        train(folder, 16, "scale=mini", f"arch={arch}", "training.steps=200", *ONE_SAMPLE)
        return 32 / images_per_second(folder)


def sampling(rounds: int) -> None:
    """One network evaluation of 32 images."""
    table("network", "t map, ms", "DPI")
    for size, options in SIZES.items():
        for arch in ARCHS:
            ways = network_evaluations(arch, *options)
            for way in ways.values():
                way(0)
            times = in_turn(ways, rounds, 3)
            ours = f"{ratio(times['DPI'], times['t map']):.2f}"
            row(f"{label(arch)}, {size}", f"{1e3 * medians(times)['t map']:.1f}", ours)


def evaluation(rounds: int) -> None:
    """Table 2 whole: 500 images, 20 draws of noise, 1,000 scalars."""
    a, b = torch.randn(2, 2048, 2048)
    product = medians(in_turn({"": lambda _: a @ b}, rounds, 3))[""]
    print(f"\nA product of 2048 x 2048 matrices: {2 * 2048**3 / product / 1e9:.0f} GFLOP/s.")
    columns = ["500 images at one scalar, ms", "of it drawing noise", "GFLOP/s", "whole, minutes"]
    table("network", *columns)
    for arch in ARCHS:
        ways = table2(arch, 500, *SIZES["16x16"])
        del ways["bfloat16"]
        each = medians(in_turn(ways, rounds, 1))
        share = f"{100 * each['noise'] / each['float32']:.0f} %"
        rate = 500 * gflops(read(f"arch={arch}", *SIZES["16x16"]))[1] / each["float32"]
        whole = f"{20_000 * each['float32'] / 60:.0f}"
        row(label(arch), f"{1e3 * each['float32']:.0f}", share, f"{rate:.0f}", whole)


def starting() -> None:
    """Seconds from the command to what it first has to say."""
    table("command", "seconds")
    with tempfile.TemporaryDirectory() as folder:
        for name, option in (
            ("an option that does not exist", "arch=unet"),
            ("a value out of range", "training.lr=-1"),
            ("a width that the network refuses", "arch.channels=[0]"),
            ("one step, a validation and a sample", "training.steps=1"),
        ):
            runs = [f"run={folder}/{option.partition('=')[0]}{n}" for n in range(4)]
            fails = option != "training.steps=1"
            times = [
                train(folder, 16, "scale=mini", *ONE_SAMPLE, option, run, fails=fails)
                for run in runs
            ][1:]  # the first reads the disk
            row(f"{name}: `{option}`", f"{statistics.median(times):.1f}")


def main() -> None:
    own = dict(argument.split("=", 1) for argument in sys.argv[1:])
    rounds = int(own.get("rounds", 9))
    print(f"# On a CPU\n\n    python benchmarks/cpu.py {' '.join(sys.argv[1:])}\n")
    print(f"{device_name(CPU)}, PyTorch {torch.__version__}, float32, batch 32.")
    sections = {
        "steps": lambda: steps(rounds),
        "compiled": lambda: compiled(rounds),
        "originals": lambda: originals(rounds, own.get("dpir"), own.get("guided_diffusion")),
        "memory": memory,
        "shares": lambda: shares(rounds),
        "sampling": lambda: sampling(rounds),
        "evaluation": lambda: evaluation(rounds),
        "starting": starting,
    }
    for name in own.get("only", ",".join(sections)).split(","):
        print(f"\n## {name.capitalize()}", flush=True)
        sections[name]()


if __name__ == "__main__":
    main()
