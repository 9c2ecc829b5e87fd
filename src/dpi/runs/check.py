"""What can be said of a configuration before PyTorch is imported, which takes seconds."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from dpi.errors import Excluded, UserError
from dpi.runs.identity import flatten

MANY = 2**31

Range = tuple[type, float, float]
"""int, float or bool; the least and the largest value."""

TRAINING: dict[str, Range] = {
    "seed": (int, 0, MANY),
    "image_size": (int, 1, 2**16),
    "training.steps": (int, 1, MANY),
    "training.batch_size": (int, 1, MANY),
    "training.lr": (float, 0, math.inf),
    "training.lr_lambda": (float, 0, math.inf),
    "training.weight_decay": (float, 0, math.inf),
    "training.weight_decay_lambda": (float, 0, math.inf),
    "training.ema_decay": (float, 0, 1),
    "training.stratified": (bool, 0, 1),
    "training.show.every": (int, 1, MANY),
    "training.show.save_every": (int, 1, MANY),
    "training.show.log_every": (int, 1, MANY),
    "training.show.num_images": (int, 1, 1024),
    "training.show.num_steps": (int, 1, 1000),
    "trainer.accumulate_grad_batches": (int, 1, MANY),
    "data.held_out": (int, 1, MANY),
    "data.split_seed": (int, 0, MANY),
    "data.random_flip": (bool, 0, 1),
}

EVALUATION: dict[str, Range] = {
    "pictures": (int, 1, MANY),
    "noise_seeds": (int, 1, MANY),
    "scalars": (int, 4, MANY),
    "n": (int, 2, MANY),
    "grid": (int, 1, 500),
    "seed": (int, 0, MANY),
    "steps": (int, 1, 1000),
    "repeats": (int, 1, MANY),
    "batch_size": (int, 1, MANY),
}
"""Of any evaluation that has such a setting."""

SAMPLING: dict[str, Range] = {
    "n": (int, 1, MANY),
    "seed": (int, 0, MANY),
    "steps": (int, 1, 1000),
    "batch_size": (int, 1, MANY),
    "npz": (bool, 0, 1),
    "trust": (bool, 0, 1),
}

EXCLUDED = {
    ("dpi.conditioning.MLP", "dpi.architectures.DRUNet"): "cond=mlp: it modulates normalization "
    "layers, and DRUNet has none; use arch=adm, or cond=dpi or cond=tmap",
    ("dpi.conditioning.NCSNv2", "dpi.frameworks.FlowMatching"): "cond=ncsnv2: it rescales a score, "
    "and framework=flow predicts a velocity; use cond=dpi, cond=tmap or cond=mlp",
    ("dpi.conditioning.SigmaMap", "dpi.frameworks.FlowMatching"): "cond=sigmamap: it is a map of "
    "noise levels, and framework=flow has none; use cond=dpi, cond=tmap or cond=mlp",
}
"""The combinations that the paper excludes. The conditionings refuse them, too, for any network."""


def check_training(cfg: DictConfig) -> None:
    """Raise UserError (Excluded for a combination that the method excludes) unless a composed
    train.yaml can be trained and evaluated, as far as its values alone say."""
    check_values(cfg, TRAINING)
    for key in flatten(OmegaConf.to_container(cfg.training), "training"):
        if key not in TRAINING and key != "training.distinct_scalars":
            raise UserError(f"{key}: training has no such setting, see python train.py --help")
    _check_names(cfg)
    _check_batch(cfg)
    for (cond, other), message in EXCLUDED.items():
        if cfg.cond.get("_target_") == cond and other in (
            cfg.arch.get("_target_"),
            cfg.framework.get("_target_"),
        ):
            raise Excluded(message)
    check_evaluations(cfg.eval)
    for name, settings in cfg.eval.items():
        if name == "denoising" and cfg.framework.get("_target_") == "dpi.frameworks.FlowMatching":
            raise UserError(
                "eval=denoising is of noise, which a flow does not predict: use eval=objective"
            )
        count = settings.get("pictures")
        if count is not None and count > cfg.data.held_out:
            raise UserError(
                f"eval.{name}.pictures={count}: data.held_out={cfg.data.held_out} images are held "
                f"out; give eval.{name}.pictures={cfg.data.held_out} or fewer, or hold out more"
            )


def check_evaluations(evals: Mapping[str, Any]) -> None:
    """Raise UserError where a setting of an `eval` section is out of range or a file missing."""
    for name, settings in evals.items():
        keys = {key: EVALUATION[key] for key in settings if key in EVALUATION}
        if settings.get("scalars") is None:  # all
            keys.pop("scalars", None)
        check_values(settings, keys, f"eval.{name}.")
        scalars = settings.get("t")
        if scalars is not None and not (
            OmegaConf.is_list(scalars) and scalars and all(type(s) is int for s in scalars)
        ):
            raise UserError(f"eval.{name}.t={scalars}: give steps, such as [0,333,666,999]")
        for key in ("weights", "reference", "samples"):
            path = settings.get(key)
            if path is not None and not Path(path).is_file():
                raise UserError(f"eval.{name}.{key}={path}: there is no such file")


def check_values(cfg: DictConfig, ranges: Mapping[str, Range], prefix: str = "") -> None:
    """Raise UserError where a value is missing, of another type, or out of its range.

    Args:
        cfg: a configuration.
        ranges: for each key, dotted, the type and the bounds.
        prefix: of the keys in messages.
    """
    for key, value in flatten(OmegaConf.to_container(cfg)).items():
        if value == MISSING:
            raise UserError(f"{prefix}{key} is missing: give {prefix}{key}=...")
    for key, (kind, least, most) in ranges.items():
        value = OmegaConf.select(cfg, key)
        if kind is bool:
            if not isinstance(value, bool):
                raise UserError(f"{prefix}{key}={value}: give true or false")
            continue
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        if not number or not least <= value <= most or value == math.inf:
            what = "a whole number" if kind is int else "a number"
            bounds = f"of at least {least:g}" if most >= MANY else f"from {least:g} to {most:g}"
            raise UserError(f"{prefix}{key}={value}: give {what} {bounds}")


def _check_names(cfg: DictConfig) -> None:
    names = {f"names.{key}": value for key, value in cfg.names.items()}
    if cfg.tag is not None:
        names["tag"] = cfg.tag
    for key, name in names.items():
        if not re.fullmatch(r"[\w.+=-]+", str(name)) or ".." in str(name) or name == ".":
            raise UserError(
                f"{key}={name}: it is part of a folder's name, so give letters, digits, dots, "
                "dashes and underscores"
            )
    if not cfg.run or not str(cfg.run).strip():
        raise UserError("run= is empty: give the folder of the run, or leave it out")
    folder = Path(cfg.run).resolve()
    here = Path.cwd()
    if folder in (here, *here.parents, here / "outputs") or folder.is_file():
        raise UserError(f"run={cfg.run} cannot be the folder of a run: give one of its own")


def _check_batch(cfg: DictConfig) -> None:
    size, distinct = cfg.training.batch_size, cfg.training.distinct_scalars
    if distinct is not None and not (type(distinct) is int and 1 <= distinct <= size):
        raise UserError(
            f"training.distinct_scalars={distinct}: a step of training.batch_size={size} images "
            f"draws 1 to {size}, or null for one an image"
        )
    micro_batches = cfg.trainer.accumulate_grad_batches
    if size % micro_batches:
        raise UserError(
            f"training.batch_size={size} does not divide into "
            f"trainer.accumulate_grad_batches={micro_batches} micro-batches"
        )
