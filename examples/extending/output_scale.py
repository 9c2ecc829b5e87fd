"""A conditioning of your own: the scalar scales what the network predicts.

PYTHONPATH=examples/extending python train.py --config-dir examples/extending/configs \
    cond=output_scale data=avatars scale=mini
"""

import torch
from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.frameworks import Framework
from dpi.interpolation import look_up


class OutputScale(nn.Module):
    """g(x, s) = exp(a(s)) f(x), with a learned a for every scalar; see
    `dpi.conditioning.Conditioning`.

    Args:
        network: creates the base network f.
        framework: defines the number of scalars.
        start: a before training.
    """

    def __init__(self, network: Architecture, framework: Framework, start: float = 0.0) -> None:
        super().__init__()
        self.network = network()
        self.a = nn.Parameter(torch.full((framework.num_scalars,), start))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Predict the framework's target.

        Args:
            x: corrupted images, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, S-1] or floats in [0, 1]. `look_up` takes
                both, and interpolates between steps.

        Returns:
            Shape (B, C, H, W).
        """
        return look_up(self.a, s).exp().reshape(-1, 1, 1, 1) * self.network(x)
