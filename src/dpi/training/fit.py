"""Train the model that a configuration describes, in its run's folder, or resume it."""

import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from torch import nn

from dpi.data import memory_map
from dpi.errors import Terminated, UserError
from dpi.frameworks import Framework
from dpi.precision import forbid_tf32
from dpi.processes import together
from dpi.runs.checkpoint import RESUMED, check_weights, load_checkpoint, load_weights, read_weights
from dpi.runs.files import CHECKPOINT, CONFIG, initial_path, read_json, read_yaml, samples_path
from dpi.runs.images import Images
from dpi.runs.record import record, record_session
from dpi.training.averaging import FURTHER, WeightAverages, ema_lag
from dpi.training.datamodule import DataModule
from dpi.training.loggers import SampleLogger, log_hyperparameters
from dpi.training.module import TrainingModule
from dpi.training.pace import Pace
from dpi.training.saving import AtomicCheckpointIO, SaveCheckpoints, write_averages

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
    first_step = _first_step(cfg, network)
    if cfg.training.init_from and not first_step:
        path = initial_path(cfg.training.init_from)
        load_weights(network, read_weights(path), path)
    trainer = _trainer(cfg)
    _check_processes(trainer, cfg.training.batch_size)
    device = trainer.strategy.root_device
    if cfg.trainer.compile:
        torch.compiler.reset()  # else later runs of a sweep would pass its limit, and be eager
    module = TrainingModule(cfg, framework, network, len(images.split.train))
    module.lay_out(device, trainer.world_size)
    pixels = memory_map(images.source, Path(cfg.data.cache_dir), cfg.data.name)
    data = DataModule(pixels, images.split, module.draws)
    if trainer.is_global_zero:
        record(cfg, run, images)
        record_session(run, first_step, device)
        log_hyperparameters(trainer.loggers, cfg)
        _say(cfg, network, images, first_step)
    # A run ends with the samples and losses of its last step, which every process knows beforehand.
    validated = first_step < steps and steps % interval == 0
    validate = not validated and not samples_path(run, steps).exists()
    try:
        checkpoint = run / CHECKPOINT if first_step else None
        with together(trainer.strategy):
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            if trainer.global_step < steps:
                if trainer.global_step > first_step:
                    trainer.save_checkpoint(run / CHECKPOINT)
                raise UserError(
                    f"Lightning ended the training at step {trainer.global_step} of {steps}, which "
                    "is saved: leave out the option of trainer that does so, such as max_time"
                )
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
        parts = f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}"
        raise UserError(
            f"out of memory: double {parts}, for the same gradients from smaller micro-batches"
        ) from error
    held_out = trainer.callback_metrics.get("val_loss", torch.tensor(0.0)).item()
    if held_out > DIVERGED and trainer.is_global_zero:
        print(
            f"warning: val_loss is {held_out:.3g}, and that of predicting zero is about 1: this "
            "training has diverged; lower training.lr, or try trainer.gradient_clip_val=1",
            file=sys.stderr,
        )


def _say(cfg: DictConfig, network: nn.Module, images: Images, first_step: int) -> None:
    train, held_out = len(images.split.train), len(images.split.held_out)
    doing = f"resuming from step {first_step}" if first_step else "training"
    parameters = sum(p.numel() for p in network.parameters())
    counts = f"{train:,} images, {held_out:,} held out"
    print(f"{cfg.run}: {doing}, {parameters:,} parameters, {counts}")
    size, every = cfg.training.batch_size, min(cfg.training.show.every, cfg.training.steps)
    if size > train:
        print(
            f"warning: training.batch_size={size}: there are only {train} training images, so they "
            "repeat within a batch",
            file=sys.stderr,
        )
    if source := cfg.training.init_from:
        before = {} if first_step else _trained_for(initial_path(source))
        for key in [key for key in before if before[key] != cfg.framework.get(key, before[key])]:
            print(
                f"warning: training.init_from={source}: framework.{key} was {before[key]}, now "
                f"{cfg.framework[key]}: the weights were trained for another target",
                file=sys.stderr,
            )
    elif (lag := ema_lag(cfg.training)) > max(every, first_step):
        print(
            f"samples are noise until about step {lag:,}, and val_loss is above loss; this is "
            f"normal: both are of averaged weights (training.ema_decay={cfg.training.ema_decay})"
        )


def _trained_for(weights: Path) -> dict[str, Any]:
    """The section `framework` beside weights, of a run or of a model of dpi.hub, if it is there."""
    try:
        if (path := weights.with_name(CONFIG)).is_file():
            return dict(read_yaml(path)["framework"])
        return dict(read_json(weights.with_name("config.json"))["model"]["framework"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _first_step(cfg: DictConfig, network: nn.Module) -> int:
    """How many optimizer steps the run has taken; its checkpoint, if it has one, is checked."""
    path = Path(cfg.run, CHECKPOINT)
    if not path.exists():
        return 0
    checkpoint = load_checkpoint(path, RESUMED)
    check_weights(network, checkpoint["current_model_state"], path)
    step, steps = checkpoint["global_step"], cfg.training.steps
    if step > steps:
        raise UserError(f"{cfg.run} is at step {step} already: give training.steps={step} or more")
    check_weights(network, checkpoint["state_dict"], path)
    averages = checkpoint["callbacks"].get(FURTHER, {})
    for decay in cfg.training.show.keep_ema:
        if decay not in averages:
            raise UserError(
                f"training.show.keep_ema: {decay} is not averaged by this run, which is at step "
                f"{step}; leave it out, or begin another run (tag=...)"
            )
        check_weights(network, averages[decay], path)
    return step


def _trainer(cfg: DictConfig) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # The images are in memory already; worker processes would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's use of PyTorch
    # Up to commit 22e8b71 the averages were another callback's.
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")
    forbid_tf32()
    own = ("compile", "channels_last", "enable_progress_bar")
    options = {k: v for k, v in cfg.trainer.items() if k not in own}
    steps, show = cfg.training.steps, cfg.training.show
    try:
        return L.Trainer(
            **options,
            callbacks=[
                SampleLogger(cfg),
                WeightAverages(cfg.training),
                SaveCheckpoints(cfg),
                Pace(cfg),
            ],
            logger=[instantiate(logger) for logger in cfg.logger.values()],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=cfg.run,
            max_steps=steps,
            max_epochs=-1,
            val_check_interval=min(show.every, steps) * cfg.trainer.accumulate_grad_batches,
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


def _check_processes(trainer: L.Trainer, batch_size: int) -> None:
    accumulate, processes = trainer.accumulate_grad_batches, trainer.world_size
    if batch_size % (accumulate * processes):
        raise UserError(
            f"training.batch_size={batch_size} does not divide into {accumulate} micro-batches "
            f"(trainer.accumulate_grad_batches) on {processes} devices"
        )
    # The other processes are started with this one's command line: each would run the sweep.
    if processes == 1 or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    if not trainer.strategy.cluster_environment.creates_processes_externally:
        raise UserError(
            "in a sweep each run has one device: use trainer=auto, or have SLURM start the others "
            "(hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=...)"
        )
