"""The learning rate over the optimizer steps, relative to `training.lr`."""

import math

from omegaconf import DictConfig


def lr_factor(training: DictConfig, step: int) -> float:
    """What the learning rates of optimizer step n, from 0, are multiplied by,

        min((n + 1) / W, 1)  times   1                                    constant
                                     (1 + cos(pi (n - W) / (D - W))) / 2  cosine, 1 before n = W
                                     1 / sqrt(max(n / D, 1))              rsqrt

    with W warm-up steps and D decay steps. `cosine` reaches 0 at step D, `rsqrt` decays from there
    on (EDM2, Karras et al., 2024).

    Args:
        training: the section of train.yaml, with lr_schedule, warmup_steps and lr_decay_steps.
        step: n.
    """
    start, end = training.warmup_steps, training.lr_decay_steps
    warmup = min((step + 1) / start, 1.0) if start else 1.0
    if training.lr_schedule == "cosine":
        progress = min(max((step - start) / (end - start), 0.0), 1.0)
        return warmup * (1 + math.cos(math.pi * progress)) / 2
    if training.lr_schedule == "rsqrt":
        return warmup / math.sqrt(max(step / end, 1.0))
    return warmup
