"""Check and time training and sampling on a GPU.

    python benchmarks/gpu.py                            the paper's networks, 64x64, batch 256
    python benchmarks/gpu.py training archs=drunet      one table of one network, in 2 to 4 minutes
    python benchmarks/gpu.py out=rows.jsonl             goes on where it was stopped

Tables: checks, training, compiled, sampling, trainer, kernels; options: see steps.py. Results:
results/gpu.md.
"""

from typing import Any

import torch
from steps import (
    DEVICE,
    Table,
    autocast,
    compiled,
    conditionings,
    few,
    kernels,
    main,
    read,
    sampled,
    sampling,
    some,
    trainer,
    training,
)

from dpi.evaluation.complexity import training_step
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


TABLES = {
    "checks": Table(lambda arch: conditionings(arch) | {"mixture": ["cond=mixture"]}, checks),
    "training": Table(conditionings, training),
    "compiled": Table(compiled, training),
    "sampling": Table(sampled, sampling),
    "trainer": Table(some("DPI, 8 scalars"), trainer),
    "kernels": Table(few, kernels),
}

if __name__ == "__main__":
    main(TABLES, "On a GPU")
