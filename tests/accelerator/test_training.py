"""Training on a device: the steps of the CPU, without waiting for the device in between."""

from collections import Counter
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from accelerator.small import CASES, small
from conftest import composed
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from omegaconf import OmegaConf

from dpi.data.split import Split
from dpi.training.averaging import WeightAverages
from dpi.training.datamodule import DataModule
from dpi.training.draws import NOISE, Draws, generator
from dpi.training.module import MicroBatch, TrainingModule, ValidationBatch


@pytest.fixture(autouse=True)
def same_noise(accelerator, monkeypatch):
    """A GPU's random numbers are others than the CPU's."""

    def noise(self, step, shape, device):
        key = generator(self.seed, NOISE, step)
        return torch.randn(self.batch_size, *shape, generator=key).to(device, non_blocking=True)

    if accelerator.device.type == "cuda":
        monkeypatch.setattr(Draws, "noise", noise)


def module_and_images(framework, conditioning, distinct_scalars=2, weighting=None):
    """What trains a small network, the same each time, and images to train it on."""
    framework, network = small(framework, conditioning)
    training = {"batch_size": 4, "lr": 1e-3, "lr_lambda": 1e-2, "ema_decay": 0.9}
    training |= {"distinct_scalars": distinct_scalars, "loss_weighting": weighting}
    if weighting:
        training |= {"lr_schedule": "rsqrt", "warmup_steps": 2, "lr_decay_steps": 3}
    cfg = composed("data.random_flip=true")
    cfg.training = OmegaConf.merge(cfg.training, training, {"show": {"log_every": 1000}})
    module = Module(cfg, framework, network, 16)
    return module, np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8), np.uint8)


class Module(TrainingModule):
    """Whose optimizer takes small steps, not by rounding errors, where a gradient is zero."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        for group in optimizer.param_groups:
            group["eps"] = 1e-3
        return optimizer


@pytest.mark.parametrize(
    ("framework", "conditioning", "distinct_scalars"),
    [
        *((*case, 2) for case in CASES if case[1] not in ("dpi-grouped", "dpi-adm")),
        ("diffusion", "dpi-grouped", None),
        ("flow", "dpi-adm", None),
    ],
)
def test_steps_are_those_of_the_cpu(accelerator, framework, conditioning, distinct_scalars):
    """Losses and parameters of three optimizer steps; only the first may wait."""
    here, images = module_and_images(framework, conditioning, distinct_scalars)
    there, _ = module_and_images(framework, conditioning, distinct_scalars)
    there.to(accelerator.device)
    images = torch.from_numpy(images[:4])
    on_device = images.to(accelerator.device)

    def step(module, optimizer, x, n):
        loss = module.loss(MicroBatch(x, n, 0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        module.mean_loss.update(loss.detach())
        return loss

    optimizer = there.configure_optimizers()
    found = [step(there, optimizer, on_device, 0)]
    with accelerator.no_waits():
        found += [step(there, optimizer, on_device, n) for n in (1, 2)]
    optimizer = here.configure_optimizers()
    for n, loss in enumerate(found):
        accelerator.check_equal(loss, step(here, optimizer, images, n))
    for p, q in zip(there.parameters(), here.parameters(), strict=True):
        accelerator.check_equal(p, q)
    accelerator.check_equal(there.mean_loss.compute(), here.mean_loss.compute())


class OnTheDevice(SingleDeviceStrategy):
    """Lightning's strategy for one device, for any device."""

    def __init__(self, device):
        super().__init__(device, accelerator=CPUAccelerator())

    def setup_environment(self):
        """There is nothing to do to the device."""


def train(device, steps, averaged, clip, how):
    """The module after a few steps by Lightning, as `dpi.training.fit` has it."""
    module, images = module_and_images("diffusion", "dpi", **how)
    everything = np.arange(16)
    data = DataModule(images, Split(everything, everything[:2], everything[:0]), module.draws)
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(
        strategy=OnTheDevice(device),
        callbacks=[WeightAverages(module.cfg.training)] if averaged else [],
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        gradient_clip_val=clip,
        **dict.fromkeys(silent, False),
    )
    trainer.fit(module, data)
    return module


@pytest.mark.parametrize(
    ("averaged", "clip", "how"),
    [
        (True, None, {"weighting": "uncertainty"}),
        (False, 0.1, {"weighting": "min_snr"}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_trainer_does_not_wait_at_any_step(accelerator, averaged, clip, how):
    """Eight steps need no more waits than four, and end in the parameters of the CPU."""
    with accelerator.waits() as four:
        train(accelerator.device, 4, averaged, clip, how)
    with accelerator.waits() as eight:
        there = train(accelerator.device, 8, averaged, clip, how)
    assert Counter(eight) - Counter(four) == Counter()
    here = train(torch.device("cpu"), 8, averaged, clip, how)
    for p, q in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(p.detach().cpu(), q.detach(), atol=1e-5, rtol=1e-5)


def test_images_on_the_device_are_taken_without_a_wait_and_stay_there(accelerator, monkeypatch):
    """As on a GPU whose memory holds them all; a validation after `fit` sets up once more."""
    module, images = module_and_images("flow", "tmap")
    split = Split(np.arange(16), np.arange(2), np.arange(0))
    data = DataModule(images, split, module.draws)
    data.images = on_device = torch.from_numpy(images).to(accelerator.device)
    with accelerator.no_waits():
        found = data.take(np.array([3, 1, 15]))
    accelerator.check_equal(found, torch.from_numpy(images[[3, 1, 15]]))
    gpu = SimpleNamespace(type="cuda")
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=gpu))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2**40, 2**40))
    data.setup("validate")
    assert data.images is on_device


@pytest.mark.parametrize(("framework", "conditioning"), [("diffusion", "dpi"), ("flow", "mlp")])
def test_the_validation_loss(accelerator, framework, conditioning, monkeypatch):
    """The loss of the CPU; two batches need as many waits as two copies of noise."""
    logged = []
    monkeypatch.setattr(TrainingModule, "log", lambda _, name, value, **__: logged.append(value))
    here, images = module_and_images(framework, conditioning)
    there, _ = module_and_images(framework, conditioning)
    there.to(accelerator.device)
    batch = torch.from_numpy(images[:4])
    on_device = batch.to(accelerator.device)
    with torch.no_grad(), accelerator.waits() as found:
        for scalar in (300, 700):
            there.validation_step(ValidationBatch(on_device, scalar, 0.5), 0)
    assert len(found) <= 2, found
    with torch.no_grad():
        for scalar in (300, 700):
            here.validation_step(ValidationBatch(batch, scalar, 0.5), 0)
    for value, expected in zip(logged[:2], logged[2:], strict=True):
        accelerator.check_equal(value, expected)
