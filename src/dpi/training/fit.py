"""Train the model that a configuration describes, in a folder of its own, or go on with it."""

import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dpi.configuration import check, flat
from dpi.data import memory_map, split
from dpi.errors import UserError
from dpi.interpolation import Interpolated
from dpi.runs import CHECKPOINT, CONFIG, build, load_checkpoint, load_weights, read_config
from dpi.training.callbacks import AtomicCheckpointIO, Progress, SaveLast, Show, Speed
from dpi.training.draws import Draws
from dpi.training.feed import Feed
from dpi.training.module import Training

IDENTITY = (
    "seed",
    "image_size",
    "framework",
    "arch",
    "cond",
    "training",
    "data.held_out",
    "data.split_seed",
    "data.random_flip",
    "trainer.accumulate_grad_batches",
)
"""The settings that make a run what it is; the rest says how it is carried out."""

FREE = ("training.steps", "training.show")
"""Of those, what may change when a run goes on: its length, and what it shows."""

SPLIT = "split.json"

RANGES = {
    "seed": (int, 0, 2**31),
    "image_size": (int, 1, 2**16),
    "training.steps": (int, 1, 2**31),
    "training.batch_size": (int, 1, 2**31),
    "training.lr": (float, 0, math.inf),
    "training.lr_lambda": (float, 0, math.inf),
    "training.weight_decay": (float, 0, math.inf),
    "training.ema_decay": (float, 0, 1),
    "training.show.every": (int, 1, 2**31),
    "training.show.save_every": (int, 1, 2**31),
    "training.show.log_every": (int, 1, 2**31),
    "training.show.num_pictures": (int, 1, 1024),
    "training.show.num_steps": (int, 1, 1000),
    "trainer.accumulate_grad_batches": (int, 1, 2**31),
    "data.held_out": (int, 1, 2**31),
    "data.split_seed": (int, 0, 2**31),
}


def fit(cfg: DictConfig) -> Path:
    """Train, or go on from the last checkpoint, or say that there is nothing left to do.

    Args:
        cfg: the composed configuration, see configs/train.yaml.

    Returns:
        The run's folder.

    Raises:
        UserError: whatever the user can put right, before anything is written.
    """
    check(cfg, RANGES)
    _check_batch(cfg)
    run = Path(cfg.run)
    torch.manual_seed(cfg.seed)
    framework, network = build(cfg)
    _check_identity(cfg, run)
    checkpoint = load_checkpoint(run / CHECKPOINT) if (run / CHECKPOINT).exists() else None
    first_step = checkpoint["global_step"] if checkpoint else 0
    if checkpoint:
        load_weights(network, checkpoint["current_model_state"], run / CHECKPOINT)
    if first_step >= cfg.training.steps:
        print(f"{run} is finished: {first_step} steps. Longer: training.steps=... Look: {run}")
        return run

    trainer = _trainer(cfg, run)
    source = instantiate(cfg.data.source, _partial_=True)()
    pictures = memory_map(source, Path(cfg.data.cache_dir), cfg.data.name)
    train, held_out = split(len(pictures), cfg.data.held_out, cfg.data.split_seed)
    _record(cfg, run, source.fingerprint, len(pictures), held_out)
    draws = Draws(
        seed=cfg.seed,
        num_pictures=len(train),
        batch_size=cfg.training.batch_size,
        num_scalars=framework.num_scalars,
        distinct_scalars=cfg.training.distinct_scalars,
        stratified=cfg.training.stratified,
    )
    if cfg.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        _bare(network).compile()
    module = Training(
        network,
        framework,
        draws,
        cfg.training.lr,
        cfg.training.lr_lambda,
        cfg.training.weight_decay,
        cfg.data.random_flip,
    )
    accumulate = cfg.trainer.accumulate_grad_batches
    feed = Feed(pictures, train, held_out, draws, first_step, accumulate)
    doing = f"going on from step {first_step}" if checkpoint else "training"
    print(f"{run}: {doing}, {_count(network):,} parameters, {len(train):,} pictures")
    ckpt_path = run / CHECKPOINT if checkpoint else None
    try:
        trainer.fit(module, feed, ckpt_path=ckpt_path, weights_only=True)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory: double trainer.accumulate_grad_batches={accumulate}, which learns "
            "the same in smaller parts"
        ) from error
    return run


def _check_batch(cfg: DictConfig) -> None:
    size, distinct = cfg.training.batch_size, cfg.training.distinct_scalars
    if distinct is not None and not 1 <= distinct <= size:
        raise UserError(
            f"training.distinct_scalars={distinct}: a step of training.batch_size={size} pictures "
            f"draws 1 to {size}, or null for one a picture"
        )
    micro_batches = cfg.trainer.accumulate_grad_batches
    if size % micro_batches:
        raise UserError(
            f"training.batch_size={size} does not divide into "
            f"trainer.accumulate_grad_batches={micro_batches} micro-batches"
        )


def _trainer(cfg: DictConfig, run: Path) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # The pictures are in memory already; worker processes would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    torch.set_float32_matmul_precision("high")
    options = {k: v for k, v in cfg.trainer.items() if k not in ("compile", "channels_last")}
    steps, accumulate = cfg.training.steps, cfg.trainer.accumulate_grad_batches
    show = cfg.training.show
    callbacks = [
        Show(run, show.num_pictures, show.num_steps),
        EMAWeightAveraging(decay=cfg.training.ema_decay),
        Progress(),
        Speed(cfg.training.batch_size, show.log_every),
        SaveLast(run / CHECKPOINT, show.save_every),
    ]
    try:
        return L.Trainer(
            **options,
            callbacks=callbacks,
            logger=[instantiate(logger) for logger in cfg.logger.values()],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run,
            max_steps=steps,
            max_epochs=-1,
            val_check_interval=min(show.every, steps) * accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=show.log_every,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"these trainer settings cannot be used here: {line}") from error


def _check_identity(cfg: DictConfig, run: Path) -> None:
    if not (run / CONFIG).exists():
        return
    then, now = _identity(read_config(run)), _identity(cfg)
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            raise UserError(
                f"{run} holds a run with other settings ({key} was {then.get(key)}, now "
                f"{now.get(key)}): give the new one a name of its own with tag=NAME, "
                "or delete that folder"
            )


def _identity(cfg: DictConfig) -> dict[str, Any]:
    values = flat(OmegaConf.to_container(cfg, resolve=True))
    return {k: v for k, v in values.items() if _under(k, IDENTITY) and not _under(k, FREE)}


def _under(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _record(
    cfg: DictConfig, run: Path, fingerprint: str, num_pictures: int, held_out: np.ndarray
) -> None:
    # What the run was started with stays; only the number of steps may grow.
    record = {
        "fingerprint": fingerprint,
        "pictures": num_pictures,
        "held_out": held_out.tolist(),
    }
    path = run / SPLIT
    if path.exists():
        before = json.loads(path.read_text())
        if before != record:
            raise UserError(
                f"{run} was trained on other pictures ({before['pictures']}, now {num_pictures}): "
                "point data.path at the same ones, or start a new run with tag=NAME"
            )
    run.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    (run / CONFIG).write_text(OmegaConf.to_yaml(cfg, resolve=True))


def _bare(network: nn.Module) -> nn.Module:
    # What is told the scalar is compiled; how it is told, which depends on the batch, is not.
    return network.theta0 if isinstance(network, Interpolated) else network.network


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
