"""The learning rate over the optimizer steps, relative to `training.lr`."""

import math
from collections.abc import Callable


def lr_factor(
    schedule: str, warmup_steps: int, decay_steps: int | None
) -> Callable[[int], float] | None:
    """What the learning rates of optimizer step n, from 0, are multiplied by,

        min((n + 1) / W, 1)  times   1                                    constant
                                     (1 + cos(pi (n - W) / (D - W))) / 2  cosine, 1 before n = W
                                     1 / sqrt(max(n / D, 1))              rsqrt

    with W warm-up steps and D decay steps. `cosine` reaches 0 at step D, `rsqrt` decays from there
    on (EDM2, Karras et al., 2024).

    Args:
        schedule: constant, cosine or rsqrt.
        warmup_steps: W, 0 for none.
        decay_steps: D, for cosine more than W; None for constant.

    Returns:
        A function of n for torch.optim.lr_scheduler.LambdaLR; None if it is 1 throughout.
    """
    if schedule == "constant" and not warmup_steps:
        return None

    def factor(step: int) -> float:
        warmup = min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
        if schedule == "cosine":
            progress = (step - warmup_steps) / (decay_steps - warmup_steps)
            return warmup * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
        if schedule == "rsqrt":
            return warmup / math.sqrt(max(step / decay_steps, 1.0))
        return warmup

    return factor
