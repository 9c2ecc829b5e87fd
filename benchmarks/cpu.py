"""Time training, sampling, compiling and starting on a CPU.

    python benchmarks/cpu.py                                    16x16, batch 32
    python benchmarks/cpu.py scale=small training.batch_size=32 32x32
    PYTHONPATH=DPIR:guided-diffusion python benchmarks/cpu.py originals

Tables: training, sampling, trainer, originals, starting, compiled; options: see steps.py. DPIR and
guided-diffusion are clones of github.com/cszn/DPIR and github.com/openai/guided-diffusion, whose
networks train in turn with ours of the same widths and blocks. Results: docs/PERFORMANCE.md.
"""

import subprocess
import sys
import time
from typing import Any

from steps import (
    DEVICE,
    ROOT,
    Table,
    against,
    autocast,
    compiled,
    conditionings,
    main,
    read,
    sampled,
    sampling,
    some,
    trainer,
    training,
)
from torch import nn

from dpi.errors import UserError
from dpi.evaluation.complexity import training_step
from dpi.runs.build import build_meta


def dpir(channels: list[int], num_blocks: int, **_: Any) -> nn.Module:
    """DPIR's network."""
    from models.network_unet import UNetRes

    return UNetRes(3, 3, list(channels), num_blocks)


def guided_diffusion(
    image_size: int,
    base_channels: int,
    channel_mult: list[int],
    num_res_blocks: int,
    attention_resolutions: list[int],
    head_channels: int,
    dropout: float,
    time_embedding: bool,
    **_: Any,
) -> nn.Module:
    """The network of guided-diffusion, with its embedding of the step."""
    from guided_diffusion.unet import UNetModel

    return UNetModel(
        image_size=image_size,
        in_channels=3,
        model_channels=base_channels,
        out_channels=3,
        num_res_blocks=num_res_blocks,
        attention_resolutions=[image_size // n for n in attention_resolutions],
        dropout=dropout,
        channel_mult=tuple(channel_mult),
        num_head_channels=head_channels,
        use_scale_shift_norm=True,
        resblock_updown=True,
    )


def originals(options: list[str], own: list[str]) -> dict[str, Any]:
    """An optimizer step of our network over that of the public one."""
    cfg, theirs = read(*options, *own), read(*options, *own)
    public = "dpir" if "arch=drunet" in options else "guided_diffusion"
    theirs.arch._target_ = f"__main__.{public}"
    counts = [sum(p.numel() for p in build_meta(of).parameters()) for of in (cfg, theirs)]
    if counts[0] != counts[1]:
        raise SystemExit(f"ours has {counts[0]:,} parameters, the original {counts[1]:,}")
    step, original = (training_step(of, DEVICE, autocast(of)) for of in (cfg, theirs))
    duration, ratio = against(step, original)
    return {"ours, ms": 1e3 * duration, "over the original": ratio}


def as_published(arch: str) -> dict[str, list[str]]:
    """Ways to train our network as the original is."""
    cond = {"drunet": "cond=ncsnv2", "adm": "cond=mlp"}[arch]
    ways = {"ours": [cond], "channels last": [cond, "trainer.channels_last=true"]}
    return ways | ({"without dropout": [cond, "arch.dropout=0"]} if arch == "drunet" else {})


def starting(options: list[str], own: list[str]) -> dict[str, Any]:
    """Seconds from a command that is refused to its message."""
    command = [sys.executable, "train.py", *options, *own]
    for _ in range(2):  # the first reads the disk
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True)
        duration = time.perf_counter() - start
    if not done.returncode:
        raise UserError("train.py did not fail")
    return {"seconds": duration}


def mistakes(arch: str) -> dict[str, list[str]]:
    """Options that are refused."""
    width = {"drunet": "arch.channels=[0]", "adm": "arch.base_channels=0"}[arch]
    return {option: [option] for option in ("cond=nowhere", "training.lr=-1", width)}


TABLES = {
    "training": Table(conditionings, training),
    "sampling": Table(sampled, sampling),
    "trainer": Table(some("DPI, 8 scalars"), trainer),
    "originals": Table(as_published, originals),
    "starting": Table(mistakes, starting),
    "compiled": Table(compiled, training),
}

if __name__ == "__main__":
    main(TABLES, "On a CPU", "scale=mini")
