"""Runs the real entry points, with the real configuration, on a network that trains in a second."""

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from dpi.configuration import register_resolvers
from dpi.training import fit

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


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """trained(framework, arch, cond): the folder of a finished run, made once."""
    register_resolvers()
    place = tmp_path_factory.mktemp("runs")

    def make(framework: str, arch: str, cond: str) -> Path:
        folder = place / f"{framework}-{arch}-{cond}"
        if not folder.exists():
            GlobalHydra.instance().clear()
            words = [f"framework={framework}", f"arch={arch}", f"cond={cond}", f"run={folder}"]
            with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
                cfg = compose("train", [*tiny, *words], return_hydra_config=True)
                HydraConfig.instance().set_config(cfg)
                with open_dict(cfg):
                    del cfg["hydra"]
                fit(cfg)
        return folder

    return make


@pytest.fixture
def run(trained, command, tmp_path):
    """run(framework, arch, cond): a copy of a finished run of its own, beside the test."""

    def copy(framework: str = "diffusion", arch: str = "drunet", cond: str = "dpi") -> Path:
        shutil.copytree(trained(framework, arch, cond), tmp_path / "run")
        return Path("run")

    return copy
