"""A checkpoint is written atomically."""

from types import SimpleNamespace

import pytest
import torch
from conftest import full_disk
from omegaconf import OmegaConf
from torch import nn

from dpi.errors import UserError
from dpi.runs.checkpoint import load_checkpoint
from dpi.training.averaging import WeightAverages
from dpi.training.saving import AtomicCheckpointIO


def checkpoint(size: int) -> dict:
    return {
        "state_dict": {"w": torch.ones(size)},
        "current_model_state": {"w": torch.ones(size)},
        "global_step": size,
    }


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(10), path)
    said = "File too large; the previous checkpoint is intact"
    with full_disk(20_000), pytest.raises(UserError, match=said) as error:
        AtomicCheckpointIO().save_checkpoint(checkpoint(100_000), path)
    assert "\n" not in str(error.value)
    assert load_checkpoint(path)["global_step"] == 10
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_indices_and_counters_are_not_averaged():
    net = nn.BatchNorm1d(2)
    net.register_buffer("order", torch.arange(256))
    net.register_buffer("complex", torch.ones(2, dtype=torch.complex64))
    for first in ("order", "weight"):  # the first tensor must not decide for the others
        training = OmegaConf.create({"ema_decay": 0.9999, "show": {"keep_ema": []}})
        averages = WeightAverages(training)
        state = {first: net.state_dict()[first], **net.state_dict()}
        module = SimpleNamespace(state_dict=lambda state=state: state)
        trainer = SimpleNamespace(global_step=1)
        for step in range(3):
            averages.on_train_batch_end(trainer, module, None, SimpleNamespace(step=step - 1))
            trainer.global_step += 1
            state = {name: tensor + (tensor.is_complex() * 1) for name, tensor in state.items()}
            module.state_dict = lambda state=state: state
        assert torch.equal(averages.average["order"], torch.arange(256))
        expected = 1.0
        for value in (2, 3):
            expected += (1 - 0.9999) * (value - expected)
        assert averages.average["complex"].real.tolist() == pytest.approx([expected] * 2)
