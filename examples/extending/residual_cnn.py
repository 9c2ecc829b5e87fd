"""An architecture of your own: a residual network of 3x3 convolutions.

PYTHONPATH=examples/extending python train.py --config-dir examples/extending/configs \
    arch=residual_cnn data=avatars scale=mini
"""

from torch import Tensor, nn


class ResidualCNN(nn.Module):
    """x + conv(relu(conv(x))), repeated, at full resolution; see `dpi.architectures.Architecture`.

    Args:
        in_channels: of the images, one more under cond=tmap.
        out_channels: of the images.
        width: channels of the hidden layers.
        num_blocks: repetitions.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, width: int = 32, num_blocks: int = 4
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(num_blocks)
        )
        self.tail = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, (B, in_channels, H, W), to a prediction, (B, out_channels, H, W)."""
        x = self.head(x)
        for block in self.blocks:
            x = x + block(x)
        return self.tail(x)
