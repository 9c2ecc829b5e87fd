"""ADM: a U-Net of residual blocks and attention, with an optional time embedding."""

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dpi.architectures.check_size import check_size
from dpi.interpolation.film import sinusoidal
from dpi.precision import autocast_off, autocasts, cast, uncast

Modulation = Literal["scale_shift", "additive"]


class ADM(nn.Module):
    """The network of guided-diffusion (Dhariwal and Nichol, "Diffusion models beat GANs on image
    synthesis", 2021). Residual blocks also down- and upsample, and skips are concatenated.

        >>> ADM(image_size=16, base_channels=32, head_channels=32)(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])

    Args:
        in_channels, out_channels: number of image channels.
        image_size: height and width in pixels; determines the levels with attention.
        base_channels: the width that channel_mult multiplies.
        channel_mult: width of each level as a multiple of base_channels, finest level first.
        num_res_blocks: residual blocks per level of the encoder; the decoder has one more.
        attention_resolutions: image sizes at which every residual block is followed by
            attention. The middle block always has attention.
        num_heads: number of attention heads if head_channels is None.
        head_channels: channels per attention head; determines the number of heads.
        norm_groups: groups of every group normalization; must divide every width. With fewer than
            four channels per group, little remains of the scale of a level's input.
        dropout: dropout probability before the second convolution of a residual block.
        time_embedding: condition every residual block on a time t.
        modulation: how the embedding enters a residual block. "scale_shift": it scales and shifts
            the second normalization. "additive": it is added before the second normalization.

    Raises:
        ValueError: widths that do not divide into groups or heads, an unknown modulation, or a
            num_res_blocks or attention resolution below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int = 64,
        base_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        num_res_blocks: int = 1,
        attention_resolutions: Sequence[int] = (16,),
        num_heads: int = 4,
        head_channels: int | None = 64,
        norm_groups: int = 32,
        dropout: float = 0.1,
        time_embedding: bool = False,
        modulation: Modulation = "scale_shift",
    ) -> None:
        super().__init__()
        if modulation not in ("scale_shift", "additive"):
            raise ValueError(f"modulation must be scale_shift or additive, got {modulation!r}")
        widths = [base_channels * mult for mult in channel_mult]
        if norm_groups < 1 or not widths or any(w % norm_groups or w < 1 for w in widths):
            raise ValueError(
                f"ADM's widths must be multiples of norm_groups={norm_groups}, got {widths}"
            )
        if num_res_blocks < 1 or min(attention_resolutions, default=1) < 1:
            raise ValueError(
                f"ADM needs positive num_res_blocks and attention_resolutions, got "
                f"{num_res_blocks} and {list(attention_resolutions)}"
            )
        self.stride = 2 ** (len(widths) - 1)
        """Height and width must be divisible by this."""
        self.base_channels = base_channels

        factors = [image_size // resolution for resolution in attention_resolutions]
        levels = {2**level: image_size // 2**level for level in range(len(widths))}
        if missing := [r for r in attention_resolutions if levels.get(image_size // r) != r]:
            warnings.warn(
                f"attention_resolutions={list(attention_resolutions)}: no level has {missing}; the "
                f"levels have {sorted(levels.values())}",
                stacklevel=2,
            )
        embedding = 4 * base_channels if time_embedding else None
        self.embed = None
        if embedding:
            self.embed = nn.Sequential(
                nn.Linear(base_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
            )

        def block(channels: int, width: int, resample: nn.Module | None = None) -> nn.Module:
            return ResidualBlock(
                channels, width, norm_groups, dropout, embedding, modulation, resample
            )

        def attention(width: int, level: int) -> list[nn.Module]:
            if 2**level not in factors:
                return []
            return [Attention(width, norm_groups, num_heads, head_channels)]

        # Every stage of the encoder has a skip connection to a stage of the decoder.
        channels = widths[0]
        skips = [channels]
        self.encoder = nn.ModuleList([Stage(nn.Conv2d(in_channels, channels, 3, padding=1))])
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.encoder.append(Stage(block(channels, width), *attention(width, level)))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.encoder.append(Stage(block(channels, channels, nn.AvgPool2d(2))))
                skips.append(channels)

        self.middle = Stage(
            block(channels, channels),
            Attention(channels, norm_groups, num_heads, head_channels),
            block(channels, channels),
        )

        self.decoder = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                stage = Stage(block(channels + skips.pop(), width), *attention(width, level))
                channels = width
                if level > 0 and i == num_res_blocks:
                    stage.append(block(channels, channels, nn.Upsample(scale_factor=2)))
                self.decoder.append(stage)

        self.out = nn.Sequential(
            nn.GroupNorm(norm_groups, channels),
            nn.SiLU(),
            zeroed(nn.Conv2d(channels, out_channels, 3, padding=1)),
        )

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Run the network.

        Args:
            x: images, shape (B, in_channels, H, W).
            t: times, shape (B,), typically in 0 ... 999, with time_embedding; None without.

        Returns:
            Shape (B, out_channels, H, W).

        Raises:
            ValueError: H or W is not divisible by `stride`, t is missing with time_embedding, or
                t is given without.
        """
        check_size(x, self.stride)
        if (t is None) != (self.embed is None):
            expected = "forward(x)" if self.embed is None else "forward(x, t)"
            raise ValueError(f"time_embedding={self.embed is not None}: call {expected}")
        e = None if t is None else uncast(self.embed, sinusoidal(t, self.base_channels).to(x))
        first, *stages = self.encoder
        x = cast(uncast(first, x, e))
        skips = [x]
        for stage in stages:
            x = stage(x, e)
            skips.append(x)
        x = self.middle(x, e)
        for stage in self.decoder:
            x = stage(torch.cat([x, skips.pop()], dim=1), e)
        return uncast(self.out, x)


class Stage(nn.Sequential):
    """Sequential layers, of which the residual blocks receive the embedding."""

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        for layer in self:
            x = layer(x, e) if isinstance(layer, ResidualBlock) else layer(x)
        return x


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and conv; the embedding, if any, modulates the second normalization.

    Args:
        channels, width: number of input and output channels.
        norm_groups, dropout, modulation: see `ADM`.
        embedding: length of the embedding, or None.
        resample: down- or upsampling, applied before the first convolution and in the skip.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        norm_groups: int,
        dropout: float,
        embedding: int | None,
        modulation: Modulation,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(norm_groups, channels)
        self.resample = resample or nn.Identity()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.norm2 = GroupNorm(norm_groups, width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)
        self.scale_shift = modulation == "scale_shift"
        self.project = None
        if embedding:
            self.project = nn.Linear(embedding, 2 * width if self.scale_shift else width)

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        h = self.conv1(self.resample(F.silu(self.norm1(x))))
        if self.project is None:
            h = self.norm2(h)
        elif self.scale_shift:
            # h' = a(s) normalization(h) + b(s), with a = 1 + scale
            scale, shift = uncast(self.project, F.silu(e))[:, :, None, None].chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale).to(h.dtype) + shift.to(h.dtype)
        else:
            h = self.norm2(h + uncast(self.project, F.silu(e))[:, :, None, None].to(h.dtype))
        return self.skip(self.resample(x)) + self.conv2(self.dropout(F.silu(h)))


class GroupNorm(nn.GroupNorm):
    """Group normalization with an output as precise as its input.

    Autocast would convert the input, and all that follows up to the next convolution, to float32.
    The statistics are computed in float32 all the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype or not autocasts(x.device):
            return super().forward(x)
        with autocast_off(x.device):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)


class Attention(nn.Module):
    """Self-attention over all positions, with a residual connection.

    Args:
        channels: number of input and output channels.
        norm_groups, num_heads, head_channels: see `ADM`.
    """

    def __init__(
        self, channels: int, norm_groups: int, num_heads: int, head_channels: int | None
    ) -> None:
        super().__init__()
        divisor = num_heads if head_channels is None else head_channels
        if divisor < 1 or channels % divisor:
            raise ValueError(
                f"{channels} channels do not divide into attention heads, with "
                f"head_channels={head_channels} and num_heads={num_heads}"
            )
        self.num_heads = num_heads if head_channels is None else channels // head_channels
        self.norm = GroupNorm(norm_groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        h = self.qkv(self.norm(x).flatten(2))
        # q, k and v of a head are adjacent channels. The fused kernels need them contiguous.
        h = rearrange(h, "b (heads qkv c) n -> qkv b heads n c", heads=self.num_heads, qkv=3)
        q, k, v = h.contiguous()
        h = rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n c -> b (heads c) n")
        return x + rearrange(self.proj(h), "b c (h w) -> b c h w", h=height, w=width)


def zeroed(module: nn.Module) -> nn.Module:
    """Initialize all parameters to zero, so that the residual branch is zero at first."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
