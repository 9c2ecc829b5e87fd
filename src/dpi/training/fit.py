"""Train the model that a configuration describes, in a folder of its own, or go on with it."""

import logging
import math
import warnings
from pathlib import Path

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from torch import nn

from dpi.conditioning.bare import bare
from dpi.configuration import check
from dpi.data import memory_map, split
from dpi.errors import UserError
from dpi.runs import CHECKPOINT, build, load_checkpoint, load_weights
from dpi.sampling import network_evaluations
from dpi.training.checkpoints import AtomicCheckpointIO, SaveLast
from dpi.training.draws import Draws
from dpi.training.feed import Feed
from dpi.training.module import Training
from dpi.training.progress import Progress, Speed, Tell
from dpi.training.record import check_settings, record
from dpi.training.show import Show

RANGES = {
    "seed": (int, 0, 2**31),
    "image_size": (int, 1, 2**16),
    "training.steps": (int, 1, 2**31),
    "training.batch_size": (int, 1, 2**31),
    "training.lr": (float, 0, math.inf),
    "training.lr_lambda": (float, 0, math.inf),
    "training.weight_decay": (float, 0, math.inf),
    "training.weight_decay_lambda": (float, 0, math.inf),
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
    network_evaluations(framework, cfg.training.show.num_steps, framework.solvers[0])
    check_settings(cfg, run)
    first_step = _resume(network, run)
    if first_step >= cfg.training.steps:
        print(f"{run} is finished: {first_step} steps (training.steps= goes on)")
        return run

    trainer = _trainer(cfg, run)
    _check_processes(trainer)
    source = instantiate(cfg.data.source, _partial_=True)()
    pictures = memory_map(source, Path(cfg.data.cache_dir), cfg.data.name)
    train, held_out = split(len(pictures), cfg.data.held_out, cfg.data.split_seed)
    record(cfg, run, source.fingerprint, len(pictures), held_out)
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
        bare(network).compile()
    module = Training(
        network,
        framework,
        draws,
        cfg.training.lr,
        cfg.training.lr_lambda,
        cfg.training.weight_decay,
        cfg.training.weight_decay_lambda,
        cfg.data.random_flip,
    )
    accumulate = cfg.trainer.accumulate_grad_batches
    feed = Feed(pictures, train, held_out, draws, first_step, accumulate)
    if trainer.is_global_zero:
        doing = f"going on from step {first_step}" if first_step else "training"
        print(f"{run}: {doing}, {_count(network):,} parameters, {len(train):,} pictures")
    ckpt_path = run / CHECKPOINT if first_step else None
    try:
        trainer.fit(module, feed, ckpt_path=ckpt_path, weights_only=True)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory: double trainer.accumulate_grad_batches={accumulate}, which learns "
            "the same in smaller parts"
        ) from error
    return run


def _resume(network: nn.Module, run: Path) -> int:
    """Load the run's weights, if it has any; returns the optimizer steps it has taken."""
    if not (run / CHECKPOINT).exists():
        return 0
    checkpoint = load_checkpoint(run / CHECKPOINT)
    load_weights(network, checkpoint["current_model_state"], run / CHECKPOINT)
    return checkpoint["global_step"]


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
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # of Lightning's, about PyTorch's insides
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
        Tell(run, show.log_every),
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


def _check_processes(trainer: L.Trainer) -> None:
    # The other processes are started with this one's command line: each would run the sweep.
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    strategy = trainer.strategy
    starts = isinstance(strategy.launcher, _SubprocessScriptLauncher)
    if sweeping and starts and not strategy.cluster_environment.creates_processes_externally:
        raise UserError(
            "in a sweep each run has one device: say trainer=auto, or have SLURM start the others "
            "(hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=...)"
        )


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
