"""A forward and backward pass of DPI over the plain network's, in each way of running a batch.

    python benchmarks/interpolation.py                       both networks, mini and paper size
    python benchmarks/interpolation.py drunet-mini repeats=9

One shared scalar, grouped with 4 and 16 distinct ones, factored with 16, and what one would write
otherwise: torch.func.vmap over weights interpolated for every sample. All in turn, so that a
machine whose speed drifts slows all of them; medians. Memory is the most that tensors took.
"""

import statistics
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dpi.architectures import ADM, DRUNet
from dpi.evaluation.complexity import device_name, peak_memory, timed
from dpi.interpolation import Interpolated, interpolate

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MINI_ADM = {
    "image_size": 16, "base_channels": 32, "channel_mult": (1, 2, 2, 2),
    "attention_resolutions": (4,), "head_channels": 16, "norm_groups": 8,
}  # fmt: skip

# name: network, picture side, batch, repeats
CASES = {
    "drunet-mini": (lambda: DRUNet(channels=(16, 32, 64, 128), num_blocks=2), 16, 32, 7),
    "adm-mini": (lambda: ADM(**MINI_ADM), 16, 32, 7),
    "drunet-paper": (DRUNet, 64, 16, 1),
    "adm-paper": (ADM, 64, 16, 1),
}


def run_vmap(net: Interpolated, x: Tensor, s: Tensor) -> Tensor:
    """Every sample with weights of its own."""
    weights = net.interpolation(s).to(x.device)
    theta1 = dict(net.theta1.named_parameters())
    theta = {
        name: torch.lerp(p, theta1[name], weights.reshape(-1, *[1] * p.dim()))
        for name, p in net.theta0.named_parameters()
    }

    def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(net.theta0, parameters, (x[None],))[0]

    return vmap(one)(theta, x)


def ways(net: Interpolated, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    def scalars(count: int) -> Tensor:
        return torch.linspace(0, 999, count).long().repeat_interleave(len(x) // count)

    def run(mode: str, count: int) -> Callable[[], Tensor]:
        def forward() -> Tensor:
            net.mode = mode
            return net(x, scalars(count))

        return forward

    return {
        "plain network": lambda: net.theta0(x),
        "one scalar": lambda: net(x, 500),
        "grouped, 4 scalars": run("grouped", 4),
        "grouped, 16 scalars": run("grouped", 16),
        "factored, 16 scalars": run("factored", 16),
        "vmap, 16 scalars": lambda: run_vmap(net, x, scalars(16)),
    }


def make(build: Callable[[], nn.Module], size: int, batch: int) -> tuple[Interpolated, Tensor]:
    torch.manual_seed(0)
    # eval: vmap would want a dropout mask of its own for every sample
    net = interpolate(build().to(DEVICE)).eval()
    return net, torch.randn(batch, 3, size, size, device=DEVICE)


def measure(name: str, repeats: int | None) -> None:
    build, size, batch, usual = CASES[name]
    net, x = make(build, size, batch)
    times: dict[str, list[float]] = {way: [] for way in ways(net, x)}
    for n in range(1 + (repeats or usual)):
        for way, forward in ways(net, x).items():
            seconds = timed(lambda _, run=forward: run().square().sum().backward(), n)
            net.zero_grad()
            if n > 0:
                times[way].append(seconds)
    del net, x
    median = {way: statistics.median(seconds) for way, seconds in times.items()}
    peak = {}
    for way in times:

        def fresh(way: str = way) -> Callable[[int], None]:
            net, x = make(build, size, batch)

            def step(n: int) -> None:
                ways(net, x)[way]().square().sum().backward()
                net.zero_grad()

            return step

        peak[way] = peak_memory(fresh, DEVICE)
    plain = "plain network"
    for way in times:
        print(
            f"| {name} | {batch} | {way} | {median[way]:.3f} | {median[way] / median[plain]:.2f} "
            f"| {peak[way]:.0f} | {peak[way] / peak[plain]:.2f} |",
            flush=True,
        )


def main() -> None:
    names = [word for word in sys.argv[1:] if word in CASES] or list(CASES)
    repeats = next((int(w[8:]) for w in sys.argv[1:] if w.startswith("repeats=")), None)
    print(f"`python benchmarks/interpolation.py {' '.join(sys.argv[1:])}`\n")
    print(f"{device_name(DEVICE)}, PyTorch {torch.__version__}\n")
    print(
        "| network | batch | | seconds | over plain | MB | over plain |\n"
        "|---|--:|---|--:|--:|--:|--:|"
    )
    for name in names:
        measure(name, repeats)


if __name__ == "__main__":
    main()
