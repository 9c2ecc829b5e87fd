"""Runs the real entry points, with the real configuration, on a network that trains in a second."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[1]

# Small networks: threads cost more than they bring.
torch.set_num_threads(1)


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capfd, monkeypatch, tmp_path) -> Callable[..., Done]:
    """Run train.py or sample.py as the command line would, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(script: str, *words: str) -> Done:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [script, *words])
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else 1
            if isinstance(exit_.code, str):
                print(exit_.code, file=sys.stderr)
        return Done(status, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> list[str]:
    """The words for a run of three steps on a few 8x8 avatars."""
    cache = tmp_path_factory.mktemp("cache")
    return [
        "data=avatars",
        "data.count=40",
        "data.held_out=8",
        f"data.cache_dir={cache}",
        "trainer=cpu",
        "scale=mini",
        "image_size=8",
        "widths.drunet.channels=[4,8]",
        "widths.drunet.num_blocks=1",
        "widths.adm.channel_mult=[1,1]",
        "training.steps=3",
        "training.batch_size=8",
        "training.distinct_scalars=4",
        "training.show.num_pictures=4",
        "training.show.num_steps=2",
        "training.show.every=3",
        "training.show.log_every=1",
    ]
