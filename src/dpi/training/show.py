"""What there is to look at while a model trains."""

from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from dpi import figures
from dpi.data import to_uint8
from dpi.interpolation import InterpolationFunction
from dpi.sampling import start_noise


class Show(Callback):
    """After each validation draws samples, the learned lambda and the loss curves.

    Goes before the weight averaging in the list of callbacks: at the end of a validation it must
    come before the averaged weights are taken out of the network again.

    Args:
        run: the run's folder; samples go to run/samples, curves beside it.
        num_pictures: samples in the grid, the same noise each time.
        num_steps: network evaluations a sample; few, for this is a glance.
    """

    def __init__(self, run: Path, num_pictures: int, num_steps: int) -> None:
        self.run, self.num_pictures, self.num_steps = run, num_pictures, num_steps

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        size = trainer.datamodule.pictures.shape[-1]
        noise = start_noise(0, range(self.num_pictures), size).to(pl_module.device)
        samples = pl_module.framework.sample(pl_module.network, noise, self.num_steps)
        grid = self.run / "samples" / f"step_{trainer.global_step:07d}.png"
        figures.save_grid(to_uint8(samples), grid)
        shown = {"samples": grid}
        for module in pl_module.network.modules():
            if isinstance(module, InterpolationFunction) and module.phi is not None:
                shown["lambda"] = self.run / "lambda.png"
                figures.plot_lambda(module, shown["lambda"])
        _log_pictures(trainer, shown)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()  # the held-out loss has only just been logged
        figures.plot_losses(sorted(self.run.glob("log/*/metrics.csv")), self.run / "losses.png")


def _log_pictures(trainer: L.Trainer, pictures: dict[str, Path]) -> None:
    for logger in trainer.loggers:
        for name, path in pictures.items():
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                picture = np.asarray(Image.open(path).convert("RGB"))
                step = trainer.global_step
                logger.experiment.add_image(name, picture, step, dataformats="HWC")
