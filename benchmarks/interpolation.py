"""Time and memory of a forward and backward pass of DPI relative to the plain network.

    python benchmarks/interpolation.py drunet-mini adm-mini batch=32
    python benchmarks/interpolation.py drunet-small repeats=5 compile=true
    python benchmarks/interpolation.py drunet-paper batch=8 repeats=1

Measured are a batch with one scalar, batches with 8 and 16 distinct scalars and with one for every
sample, in one pass, and grouped. The ways are timed alternately, so that a drift of the machine's
speed affects all of them; times are medians, memory is the peak size of all tensors.
"""

import statistics
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpi.architectures import ADM, DRUNet
from dpi.evaluation.complexity import device_name, peak_memory, timed
from dpi.interpolation import Interpolated, interpolate

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MINI_ADM = {
    "image_size": 16, "base_channels": 32, "channel_mult": (1, 2, 2, 2),
    "attention_resolutions": (4,), "head_channels": 16, "norm_groups": 8,
}  # fmt: skip
SMALL_ADM = {"image_size": 32, "base_channels": 64, "channel_mult": (1, 2, 2),
             "attention_resolutions": (8,), "head_channels": 32}  # fmt: skip

# name: network, image size
CASES = {
    "drunet-mini": (lambda: DRUNet(channels=(16, 32, 64, 128), num_blocks=2), 16),
    "adm-mini": (lambda: ADM(**MINI_ADM), 16),
    "drunet-small": (lambda: DRUNet(channels=(32, 64, 128, 256), num_blocks=4), 32),
    "adm-small": (lambda: ADM(**SMALL_ADM), 32),
    "drunet-paper": (DRUNet, 64),
    "adm-paper": (ADM, 64),
}
PLAIN = "plain network"


def ways(net: Interpolated, x: Tensor, compiled: bool) -> dict[str, Callable[[], Tensor]]:
    """The plain network and DPI with different numbers of scalars."""
    plain = torch.compile(net.theta0) if compiled else net.theta0
    g = torch.compile(net) if compiled else net

    def run(mode: str, count: int) -> Callable[[], Tensor]:
        s = torch.linspace(0, 999, count).long().repeat_interleave(len(x) // count)

        def forward() -> Tensor:
            net.mode, net.samples_per_scalar = mode, len(x) // count
            return g(x, s)

        return forward

    counts = sorted({n for n in (8, 16, len(x)) if n <= len(x)})
    found = {PLAIN: lambda: plain(x), "one scalar": lambda: g(x, torch.tensor(500))}
    found |= {f"{n} scalars, one pass": run("auto", n) for n in counts}
    if not compiled:
        found |= {f"{n} scalars, grouped": run("grouped", n) for n in counts[:1]}
    return found


def make(build: Callable[[], nn.Module], size: int, batch: int) -> tuple[Interpolated, Tensor]:
    torch.manual_seed(0)
    net = interpolate(build().to(DEVICE)).eval()
    return net, torch.randn(batch, 3, size, size, device=DEVICE)


def measure(name: str, batch: int, repeats: int, compiled: bool) -> None:
    build, size = CASES[name]
    net, x = make(build, size, batch)
    runs = ways(net, x, compiled)
    times: dict[str, list[float]] = {way: [] for way in runs}
    for n in range(1 + repeats):
        for way, forward in runs.items():
            seconds = timed(lambda _, run=forward: run().square().sum().backward(), n)
            net.zero_grad()
            if n > 0:
                times[way].append(seconds)
    del net, x, runs
    median = {way: statistics.median(seconds) for way, seconds in times.items()}
    peak = {}
    for way in times:

        def fresh(way: str = way) -> Callable[[int], None]:
            forward = ways(*(made := make(build, size, batch)), compiled)[way]

            def step(n: int) -> None:
                forward().square().sum().backward()
                made[0].zero_grad()

            return step

        peak[way] = peak_memory(fresh, DEVICE)
    for way in times:
        seconds, megabytes = median[way], peak[way]
        print(
            f"| {name}{', compiled' if compiled else ''} | {batch} | {way} | {seconds:.3f} "
            f"| {seconds / median[PLAIN]:.2f} | {megabytes:.0f} | {megabytes / peak[PLAIN]:.2f} |",
            flush=True,
        )


def main() -> None:
    names = [arg for arg in sys.argv[1:] if arg in CASES] or list(CASES)
    options = dict(arg.split("=") for arg in sys.argv[1:] if "=" in arg)
    batch, repeats = int(options.get("batch", 32)), int(options.get("repeats", 7))
    print(f"`python benchmarks/interpolation.py {' '.join(sys.argv[1:])}`\n")
    print(f"{device_name(DEVICE)}, PyTorch {torch.__version__}\n")
    print(
        "| network | batch | | seconds | over plain | MB | over plain |\n"
        "|---|--:|---|--:|--:|--:|--:|"
    )
    for name in names:
        measure(name, batch, repeats, options.get("compile") == "true")


if __name__ == "__main__":
    main()
