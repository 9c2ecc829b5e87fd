"""Train the model that a configuration describes, in its run's folder, or resume it."""

import logging
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from torch import nn

from dpi.data import memory_map
from dpi.errors import Terminated, UserError
from dpi.frameworks import Framework
from dpi.frameworks.draw import network_evaluations
from dpi.interpolation import Interpolated
from dpi.precision import forbid_tf32
from dpi.processes import together
from dpi.runs.build import set_memory_format
from dpi.runs.checkpoint import check_weights, load_checkpoint, load_weights
from dpi.runs.files import CHECKPOINT, samples_path
from dpi.runs.images import Images
from dpi.runs.record import record, record_session
from dpi.training.averaging import FURTHER, WeightAverages, ema_decay, ema_lag
from dpi.training.datamodule import DataModule
from dpi.training.draws import Draws
from dpi.training.finite import FiniteLoss
from dpi.training.learning_rate import lr_factor
from dpi.training.loggers import log_hyperparameters, make_loggers
from dpi.training.module import TrainingModule
from dpi.training.pace import Pace
from dpi.training.sample_logger import SampleLogger
from dpi.training.saving import AtomicCheckpointIO, SaveCheckpoints, write_averages
from dpi.training.weighting import make_weighting

DIVERGED = 10.0
"""A mean squared error on held-out images that no training should end with."""


def fit(cfg: DictConfig, framework: Framework, network: nn.Module, images: Images) -> None:
    """Train, or resume from the last checkpoint, up to the samples and losses of the last step.

    Args:
        cfg: the composed configuration, see configs/train.yaml; that of the run, if its folder
            holds one.
        framework, network: built from it; the network is trained in place.
        images: those that it names.

    Raises:
        UserError: whatever the user can fix, before anything is written.
    """
    run, steps, show = Path(cfg.run), cfg.training.steps, cfg.training.show
    interval = min(show.every, steps)
    network_evaluations(framework, show.num_steps)
    first_step = _resume(cfg, network)
    trainer = _trainer(cfg, run)
    _check_processes(trainer)
    pixels = memory_map(images.source, Path(cfg.data.cache_dir), cfg.data.name)
    parts = images.split
    draws = make_draws(cfg, len(parts.train), framework.num_scalars)
    device = trainer.strategy.root_device
    module = make_module(cfg, framework, network, draws, device, trainer.world_size)
    accumulate = cfg.trainer.accumulate_grad_batches
    data = DataModule(pixels, parts.train, parts.held_out, draws, first_step, accumulate)
    if trainer.is_global_zero:
        record(cfg, run, images)
        record_session(run, first_step, device_name(device))
        log_hyperparameters(trainer.loggers, cfg)
        doing = f"resuming from step {first_step}" if first_step else "training"
        counts = f"{len(parts.train):,} images, {len(parts.held_out):,} held out"
        print(f"{run}: {doing}, {_count(network):,} parameters, {counts}")
        if cfg.training.batch_size > len(parts.train):
            print(
                f"warning: training.batch_size={cfg.training.batch_size}: there are only "
                f"{len(parts.train)} training images, so they repeat within a batch",
                file=sys.stderr,
            )
        if (lag := ema_lag(cfg.training)) > max(interval, first_step):
            print(
                f"until step {lag:,} the initial weights are more than a tenth of the average "
                f"(ema_decay={cfg.training.ema_decay}): val_loss and samples lag behind loss"
            )
    # A run ends with the samples and losses of its last step, which every process knows beforehand.
    validated = first_step < steps and steps % interval == 0
    validate = not validated and not samples_path(run, steps).exists()
    try:
        checkpoint = run / CHECKPOINT if first_step else None
        with together(trainer.strategy):
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            if validate:
                trainer.validate(module, data, verbose=False)
        if show.keep_ema and trainer.is_global_zero:
            write_averages(run)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's, after a second Ctrl-C
            said = "interrupted: the same command resumes from the last checkpoint"
            raise Terminated(said if trainer.is_global_zero else "", signal.SIGINT) from None
        raise
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory: double trainer.accumulate_grad_batches={accumulate}, for the same "
            "gradients from smaller micro-batches"
        ) from error
    held_out = trainer.callback_metrics.get("val_loss", torch.tensor(0.0)).item()
    if held_out > DIVERGED and trainer.is_global_zero:
        print(
            f"warning: val_loss is {held_out:.3g}, and that of predicting zero is about 1: this "
            "training has diverged; lower training.lr, or try trainer.gradient_clip_val=1",
            file=sys.stderr,
        )


def make_draws(cfg: DictConfig, num_images: int, num_scalars: int) -> Draws:
    """The randomness of each step, as the configuration has it.

    Args:
        cfg: with seed and training.
        num_images: training images.
        num_scalars: S.
    """
    t = cfg.training
    return Draws(cfg.seed, num_images, t.batch_size, num_scalars, t.distinct_scalars, t.stratified)


def make_module(
    cfg: DictConfig,
    framework: Framework,
    network: nn.Module,
    draws: Draws,
    device: torch.device,
    processes: int = 1,
) -> TrainingModule:
    """The LightningModule, with the network in its memory format and compiled if it is to be."""
    set_memory_format(network, device, cfg.trainer.channels_last)
    if cfg.trainer.compile:
        parts = cfg.trainer.accumulate_grad_batches * processes
        for module in network.modules():
            if isinstance(module, Interpolated):
                module.samples_per_scalar = draws.samples_per_scalar(draws.batch_size // parts)
        network.compile()
    t = cfg.training
    return TrainingModule(
        network,
        framework,
        draws,
        t.lr,
        t.lr_lambda,
        t.weight_decay,
        t.weight_decay_lambda,
        cfg.data.random_flip,
        t.show.log_every,
        lr_factor(t.lr_schedule, t.warmup_steps, t.lr_decay_steps),
        make_weighting(t.loss_weighting, framework),
    )


def device_name(device: torch.device) -> str:
    """The GPU's model, or the CPU's number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _resume(cfg: DictConfig, network: nn.Module) -> int:
    """Load the run's weights, if it has any; returns the optimizer steps it has taken."""
    path = Path(cfg.run, CHECKPOINT)
    if not path.exists():
        return 0
    checkpoint = load_checkpoint(path)
    load_weights(network, checkpoint["current_model_state"], path)
    step, steps = checkpoint["global_step"], cfg.training.steps
    if step > steps:
        raise UserError(f"{cfg.run} is at step {step} already: give training.steps={step} or more")
    check_weights(network, checkpoint["state_dict"], path)
    averages = checkpoint.get("callbacks", {}).get(FURTHER, {})
    for decay in cfg.training.show.keep_ema:
        if decay not in averages:
            raise UserError(
                f"training.show.keep_ema: {decay} is not averaged by this run, which is at step "
                f"{step}; leave it out, or begin another run (tag=...)"
            )
        check_weights(network, averages[decay], path)
    return step


def _trainer(cfg: DictConfig, run: Path) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # The images are in memory already; worker processes would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's use of PyTorch
    # Up to commit 22e8b71 the averages were another callback's.
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")
    forbid_tf32()
    own = ("compile", "channels_last", "enable_progress_bar")
    options = {k: v for k, v in cfg.trainer.items() if k not in own}
    bar = cfg.trainer.get("enable_progress_bar", True)
    steps, show = cfg.training.steps, cfg.training.show
    interval = min(show.every, steps)
    callbacks = [
        SampleLogger(run, show.num_images, show.num_steps),
        WeightAverages(partial(ema_decay, cfg.training), show.keep_ema),
        FiniteLoss(run / CHECKPOINT, show.log_every),
        SaveCheckpoints(
            run, show.save_every, show.keep_every, interval if show.keep_best else None
        ),
        Pace(run, cfg.training.batch_size, show.log_every, bar),
    ]
    try:
        return L.Trainer(
            **options,
            callbacks=callbacks,
            logger=make_loggers(cfg),
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run,
            max_steps=steps,
            max_epochs=-1,
            val_check_interval=interval * cfg.trainer.accumulate_grad_batches,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=show.log_every,
            enable_progress_bar=False,  # Pace has one
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        line = str(error).splitlines()[0]
        raise UserError(
            f"these trainer settings cannot be used here: {line}; trainer=auto takes what there is"
        ) from error


def _check_processes(trainer: L.Trainer) -> None:
    # The other processes are started with this one's command line: each would run the sweep.
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if not sweeping or trainer.world_size == 1:
        return
    if not trainer.strategy.cluster_environment.creates_processes_externally:
        raise UserError(
            "in a sweep each run has one device: use trainer=auto, or have SLURM start the others "
            "(hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=...)"
        )


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
