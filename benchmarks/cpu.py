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
from contextlib import nullcontext
from typing import Any

import steps
import torch
from omegaconf import OmegaConf
from steps import DEVICE, ROOT, Table, autocast, conditionings, main, read, sampled, some
from torch import nn

from dpi.errors import UserError
from dpi.evaluation.complexity import peak_memory, training_step
from dpi.runs.build import build_meta


def dpir(in_channels: int, channels: list[int], num_blocks: int, **_: Any) -> nn.Module:
    """DPIR's network."""
    from models.network_unet import UNetRes

    return UNetRes(in_channels, 3, list(channels), num_blocks)


def guided_diffusion(
    image_size: int,
    base_channels: int,
    channel_mult: list[int],
    num_res_blocks: int,
    attention_resolutions: list[int],
    head_channels: int,
    dropout: float,
    time_embedding: bool,
    **more: Any,
) -> nn.Module:
    """The network of guided-diffusion, with its embedding of the step."""
    from guided_diffusion.unet import UNetModel

    network = UNetModel(
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
        **{option: value for option, value in more.items() if option.startswith("use_")},
    )
    if network.dtype == torch.float16:
        network.convert_to_fp16()
    return network


def originals(options: list[str], own: list[str]) -> dict[str, Any]:
    """An optimizer step of our network over that of the public one.

    What begins with `+theirs.` are options of the public network alone. If use_fp16 is among them,
    it has weights in float16, for which its own training would have a copy in float32 as well.
    """
    cfg, theirs = read(*options, *own), read(*options, *own)
    OmegaConf.set_struct(theirs, False)
    public = "dpir" if "arch=drunet" in options else "guided_diffusion"
    theirs.arch.update(_target_=f"{__name__}.{public}", **theirs.get("theirs", {}))
    if theirs.arch.get("use_fp16"):
        theirs.trainer.precision = "32-true"  # it converts by itself
    counts = [sum(p.numel() for p in build_meta(of).parameters()) for of in (cfg, theirs)]
    if counts[0] != counts[1]:
        raise SystemExit(f"ours has {counts[0]:,} parameters, the original {counts[1]:,}")
    # Its attention computes itself again in the backward pass, where train.py has no autocast.
    whole = autocast(theirs)(cache_enabled=False)
    step, ours = peak_memory(lambda: training_step(cfg, DEVICE, autocast(cfg)), DEVICE)
    original, mib = peak_memory(lambda: whole(training_step(theirs, DEVICE, nullcontext)), DEVICE)
    duration, ratio = steps.against(step, original)
    cells = {"ours, ms": 1e3 * duration, "over the original": ratio}
    return cells | {"ours, MiB": ours, "original, MiB": mib}


def as_published(arch: str) -> dict[str, list[str]]:
    """Ways to train our network as the original is, and options of the original's own."""
    cond = {"drunet": "cond=tmap", "adm": "cond=mlp"}[arch]
    ways = {"ours": [], "channels last": ["trainer.channels_last=true"]}
    ways |= {"without dropout": ["arch.dropout=0"], "float32": ["trainer.precision=32-true"]}
    if arch == "adm":
        ways["use_fp16"] = ["+theirs.use_fp16=true"]
        for way in ("use_fp16", "float32"):
            ways[f"{way}, use_checkpoint"] = [*ways[way], "+theirs.use_checkpoint=true"]
    return {way: [cond, *given] for way, given in ways.items()}


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
    "training": Table(conditionings, steps.training),
    "sampling": Table(sampled, steps.sampling),
    "trainer": Table(some("DPI, 8 scalars"), steps.trainer),
    "originals": Table(as_published, originals),
    "starting": Table(mistakes, starting),
    "compiled": Table(steps.compiled, steps.training),
}

if __name__ == "__main__":
    main(TABLES, "On a CPU", "scale=mini")
