"""The validation loss is the mean over the whole schedule."""

import lightning as L
import numpy as np
import pytest
import torch
from conftest import composed
from torch import nn

from dpi.data.split import Split
from dpi.frameworks import VPDiffusion
from dpi.frameworks.quadrature import nodes, weights
from dpi.training.datamodule import DataModule
from dpi.training.module import TrainingModule


class Known(nn.Module):
    """Its error is 1, and more near t = 0, as that of a trained network is."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x, s):
        return torch.full_like(x, 5 * np.exp(-s.item() / 40))


@pytest.mark.parametrize("batches", [None, 12])
def test_each_scalar_has_its_share(monkeypatch, batches):
    monkeypatch.setattr("dpi.training.datamodule.VAL_SCALARS", 100)
    module = TrainingModule(composed(), VPDiffusion(), Known(), 16)
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), np.uint8)
    data = DataModule(images, Split(np.arange(16), np.arange(16, 20), np.arange(0)), module.draws)
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options = dict.fromkeys(silent, False) | {"limit_val_batches": batches}
    trainer = L.Trainer(accelerator="cpu", **options)
    trainer.validate(module, data, verbose=False)
    errors = 1 + (5 * np.exp(-np.arange(1000) / 40)) ** 2
    if batches is not None:
        scalars = nodes(100, 1000)
        errors = np.average(errors[scalars[:batches]], weights=weights(scalars, 1000)[:batches])
    assert trainer.callback_metrics["val_loss"] == pytest.approx(errors.mean(), rel=0.01)
