"""A checkpoint is written atomically."""

import resource

import pytest
import torch

from dpi.errors import UserError
from dpi.runs.checkpoint import load_checkpoint
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
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(
            UserError, match="File too large; the previous checkpoint is intact"
        ) as error:
            AtomicCheckpointIO().save_checkpoint(checkpoint(100_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert load_checkpoint(path)["global_step"] == 10
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
