"""Time and memory of a forward and backward pass of DPI relative to the plain network.

    python benchmarks/interpolation.py                       both networks, mini and paper size
    python benchmarks/interpolation.py drunet-mini repeats=9

Measured are batches with one shared scalar, grouped with 4 and 16 distinct scalars, factored with
16, and for comparison torch.func.vmap over parameters interpolated per sample. The methods are
timed alternately, so that a drift of the machine's speed affects all of them; times are medians,
memory is the peak size of all tensors.
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

# name: network, image size, batch size, repeats
CASES = {
    "drunet-mini": (lambda: DRUNet(channels=(16, 32, 64, 128), num_blocks=2), 16, 32, 7),
    "adm-mini": (lambda: ADM(**MINI_ADM), 16, 32, 7),
    "drunet-paper": (DRUNet, 64, 16, 1),
    "adm-paper": (ADM, 64, 16, 1),
}


def run_vmap(net: Interpolated, x: Tensor, s: Tensor) -> Tensor:
    """Run the batch with separate parameters for every sample."""
    weights = net.interpolation(s).to(x.device)
    theta1 = dict(net.theta1.named_parameters())
    theta = {
        name: torch.lerp(p, theta1[name], weights.reshape(-1, *[1] * p.dim()))
        for name, p in net.theta0.named_parameters()
    }

    def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(net.theta0, parameters, (x[None],))[0]

    return vmap(one)(theta, x)


def methods(net: Interpolated, x: Tensor) -> dict[str, Callable[[], Tensor]]:
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
    # In eval mode: with vmap, dropout would need a separate mask per sample.
    net = interpolate(build().to(DEVICE)).eval()
    return net, torch.randn(batch, 3, size, size, device=DEVICE)


def measure(name: str, repeats: int | None) -> None:
    build, size, batch, default_repeats = CASES[name]
    net, x = make(build, size, batch)
    times: dict[str, list[float]] = {method: [] for method in methods(net, x)}
    for n in range(1 + (repeats or default_repeats)):
        for method, forward in methods(net, x).items():
            seconds = timed(lambda _, run=forward: run().square().sum().backward(), n)
            net.zero_grad()
            if n > 0:
                times[method].append(seconds)
    del net, x
    median = {method: statistics.median(seconds) for method, seconds in times.items()}
    peak = {}
    for method in times:

        def fresh(method: str = method) -> Callable[[int], None]:
            net, x = make(build, size, batch)

            def step(n: int) -> None:
                methods(net, x)[method]().square().sum().backward()
                net.zero_grad()

            return step

        peak[method] = peak_memory(fresh, DEVICE)
    plain = "plain network"
    for method in times:
        seconds, megabytes = median[method], peak[method]
        print(
            f"| {name} | {batch} | {method} | {seconds:.3f} | {seconds / median[plain]:.2f} "
            f"| {megabytes:.0f} | {megabytes / peak[plain]:.2f} |",
            flush=True,
        )


def main() -> None:
    names = [arg for arg in sys.argv[1:] if arg in CASES] or list(CASES)
    repeats = next((int(arg[8:]) for arg in sys.argv[1:] if arg.startswith("repeats=")), None)
    print(f"`python benchmarks/interpolation.py {' '.join(sys.argv[1:])}`\n")
    print(f"{device_name(DEVICE)}, PyTorch {torch.__version__}\n")
    print(
        "| network | batch | method | seconds | relative | MB | relative |\n"
        "|---|--:|---|--:|--:|--:|--:|"
    )
    for name in names:
        measure(name, repeats)


if __name__ == "__main__":
    main()
