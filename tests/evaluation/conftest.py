"""A feature network that takes a millisecond."""

import pytest
import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY


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
