"""Inception-v3 with random weights, to try the path of FID where its own cannot be had.

python tests/evaluation/random_inception.py weights.pth
"""

import sys

import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Blank(FeatureExtractorInceptionV3):
    """The network without its weights."""

    def load_state_dict(self, *args, **kwargs) -> None:
        """Nothing to load."""


def write(path: str) -> None:
    """Write random weights, under which the features keep about the same size from end to end."""
    torch.manual_seed(0)
    torch.save({}, path)
    network = Blank("blank", ["2048"], feature_extractor_weights_path=path)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)


if __name__ == "__main__":
    write(sys.argv[1])
