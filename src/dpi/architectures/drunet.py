"""DRUNet: a residual U-Net of convolutions and ReLUs, without norms, biases or attention."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dpi.architectures.check_size import check_size
from dpi.precision import cast, uncast


class DRUNet(nn.Module):
    """The network of DPIR (Zhang et al., "Plug-and-play image restoration with deep denoiser
    prior", 2021), a denoiser without modules for conditioning on a scalar.

    Encoder and decoder have `num_blocks` residual blocks per level. Strided 2x2 convolutions
    downsample, transposed ones upsample, and skips are added.

        >>> DRUNet(channels=(8, 16), num_blocks=1)(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])

    Args:
        in_channels, out_channels: number of image channels.
        channels: width of each level, finest level first.
        num_blocks: residual blocks per level of the encoder and decoder, and in the body.
        dropout: dropout probability between the two convolutions of a residual block.

    Raises:
        ValueError: no level, or a width or num_blocks below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: Sequence[int] = (64, 128, 256, 512),
        num_blocks: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        whole = len(channels) and all(isinstance(width, int) and width > 0 for width in channels)
        if not whole or num_blocks < 1:
            raise ValueError(
                f"DRUNet needs positive channels and num_blocks, got channels={list(channels)} and "
                f"num_blocks={num_blocks}"
            )
        self.stride = 2 ** (len(channels) - 1)
        """Height and width must be divisible by this."""

        def blocks(width: int) -> list[nn.Module]:
            return [ResidualBlock(width, dropout) for _ in range(num_blocks)]

        steps = list(pairwise(channels))
        self.head = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(
            nn.Sequential(*blocks(fine), nn.Conv2d(fine, coarse, 2, stride=2, bias=False))
            for fine, coarse in steps
        )
        self.body = nn.Sequential(*blocks(channels[-1]))
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False), *blocks(fine))
            for fine, coarse in reversed(steps)
        )
        self.tail = nn.Conv2d(channels[0], out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network.

        Args:
            x: images, shape (B, in_channels, H, W).

        Returns:
            Shape (B, out_channels, H, W).

        Raises:
            ValueError: H or W is not divisible by `stride`.
        """
        check_size(x, self.stride)
        x = uncast(self.head, x)
        skips = []
        for level in self.encoder:
            skips.append(x)
            x = level(cast(x))
        skips.append(x)
        x = self.body(x)
        for level in self.decoder:
            x = level(x + skips.pop())
        return uncast(self.tail, x + skips.pop())


class ResidualBlock(nn.Module):
    """x + conv(dropout(relu(conv(x))))."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.dropout(F.relu(self.conv1(x))))
