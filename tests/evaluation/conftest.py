"""Trained runs to evaluate, and a feature network that takes a millisecond."""

import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from dpi.configuration import register_resolvers
from dpi.training import fit

CONFIGS = Path(__file__).parents[2] / "configs"


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
            with initialize_config_dir(str(CONFIGS), version_base="1.3"):
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


class TinyExtractor(FeatureExtractorBase):
    """Sixteen random projections of a picture shrunk to 4x4."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        generator = torch.Generator().manual_seed(0)
        self.projection = nn.Parameter(torch.randn(48, 16, generator=generator))

    def forward(self, x):
        small = nn.functional.adaptive_avg_pool2d(x.float() / 255, 4)
        return ((small.flatten(1) @ self.projection).sin(),)

    @staticmethod
    def get_provided_features_list():
        return ("sines",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "sines"


@pytest.fixture
def tiny_extractor(monkeypatch) -> str:
    """The name of a feature network in torch-fidelity's registry."""
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "tiny", TinyExtractor)
    return "tiny"
