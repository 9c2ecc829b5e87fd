"""What there is to look at while a model trains, and once it has."""

import sys
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from omegaconf import DictConfig
from PIL import Image

from dpi import plots
from dpi.data import to_uint8
from dpi.errors import UserError
from dpi.frameworks.draw import start_noise
from dpi.interpolation import InterpolationFunction, Mixture
from dpi.runs.files import samples_path


class SampleLogger(Callback):
    """After each validation draws samples, the learned lambda and the loss curves.

    Args:
        cfg: the composed configuration. Samples go to run/samples, always from the same noise, and
            curves beside it.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.run, self.show = Path(cfg.run), cfg.training.show

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        shape = tuple(trainer.datamodule.images.shape[1:])
        noise = start_noise(0, range(self.show.num_images), shape).to(pl_module.device)
        samples = pl_module.framework.sample(pl_module.network, noise, self.show.num_steps)
        made = {}
        try:
            path = samples_path(self.run, trainer.global_step)
            plots.save_grid(to_uint8(samples), path)
            made["samples"] = path
        except UserError as error:  # the training goes on to where its loss is not finite
            print(f"warning: step {trainer.global_step}: {error}", file=sys.stderr)
        for module in pl_module.network.modules():
            if isinstance(module, InterpolationFunction | Mixture) and module.phi is not None:
                made["lambda"] = self.run / "lambda.png"
                plots.plot_lambda(module.table().detach().cpu().numpy(), made["lambda"])
        _log_images(trainer, made)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()  # the validation loss has only just been logged
        plots.plot_losses(sorted(self.run.glob("log/*/metrics.csv")), self.run / "losses.png")


def _log_images(trainer: L.Trainer, images: dict[str, Path]) -> None:
    for logger in trainer.loggers:
        for name, path in images.items():
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                image = np.asarray(Image.open(path).convert("RGB"))
                logger.experiment.add_image(name, image, trainer.global_step, dataformats="HWC")
