"""Deep parameter interpolation from beginning to end: a U-Net, flow matching, training, sampling.

    python examples/minimal.py       # cartoon faces in minimal.png, after ten minutes of one core

Everything is written out here, so that it can be read from top to bottom and copied: the method
needs PyTorch alone. The built-in images and the grid that shows the samples are the library's
(pip install '.[train]').
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from dpi.data import Avatars
from dpi.plots import save_grid

SIZE = 16  # pixels
NUM_IMAGES = 4096
NUM_TIMES = 1000  # S: the steps at which lambda has a value
STEPS = 2000  # of AdamW
BATCH = 64  # images, in PARTS parts of one time each
PARTS = 4
SAMPLING_STEPS = 50


class DPI(nn.Module):
    """g(x, t) = f((1 - lambda(t)) theta0 + lambda(t) theta1, x): two parameter sets of one network.

    Args:
        f: the network, x -> y, which knows nothing of t.
    """

    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.theta0 = f
        self.theta1 = copy.deepcopy(f)
        self.phi = nn.Parameter(torch.zeros(NUM_TIMES))

    def weight(self, t: float) -> Tensor:
        """lambda(t), learned: a cumulative sum of positive steps that add up to 1."""
        return self.phi.softmax(0).cumsum(0)[round(t * (NUM_TIMES - 1))]

    def forward(self, x: Tensor, t: float) -> Tensor:
        """g(x, t) for images (B, 3, H, W) that share one time t in [0, 1]."""
        theta1 = dict(self.theta1.named_parameters())
        theta = {
            name: torch.lerp(value, theta1[name], self.weight(t))
            for name, value in self.theta0.named_parameters()
        }
        return functional_call(self.theta0, theta, x)


class Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a projection if the width changes."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width_in), nn.GroupNorm(8, width_out)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.skip = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) -> (B, width_out, H, W)."""
        y = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class UNet(nn.Module):
    """A U-Net of three resolutions. It has no input for the time: DPI makes one unnecessary."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        a, b, c = widths
        self.first, self.last = nn.Conv2d(3, a, 3, padding=1), nn.Conv2d(a, 3, 3, padding=1)
        self.down1, self.down2, self.middle = Block(a, a), Block(a, b), Block(b, c)
        self.bottom, self.up2, self.up1 = Block(c, c), Block(c + b, b), Block(b + a, a)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same, for H and W that are multiples of 4."""
        x = self.first(x)
        high = self.down1(x)
        half = self.down2(F.avg_pool2d(high, 2))
        quarter = self.bottom(self.middle(F.avg_pool2d(half, 2)))
        half = self.up2(torch.cat([half, F.interpolate(quarter, scale_factor=2)], 1))
        high = self.up1(torch.cat([high, F.interpolate(half, scale_factor=2)], 1))
        return self.last(F.silu(high))


def loss(net: nn.Module, x: Tensor, t: float) -> Tensor:
    """Flow matching: the mean squared error of the velocity of x_t = t x + (1 - t) noise."""
    noise = torch.randn_like(x)
    return F.mse_loss(net(t * x + (1 - t) * noise, t), x - noise)


def ema(average: Tensor, new: Tensor, n: Tensor) -> Tensor:
    """Exponential moving average of n weights and another, which soon forgets the first ones."""
    return torch.lerp(new, average, min(0.995, (1 + n.item()) / (10 + n.item())))


def train(net: DPI, images: Tensor) -> nn.Module:
    """Train on images (N, 3, H, W) in [-1, 1]; returns the network with averaged weights."""
    theta = [*net.theta0.parameters(), *net.theta1.parameters()]
    groups = [{"params": theta}, {"params": [net.phi], "lr": 1e-2, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    average = AveragedModel(net, avg_fn=ema)
    mean = 0.0
    for step in range(1, STEPS + 1):
        batch = images[torch.randint(len(images), (BATCH,))].chunk(PARTS)
        for k, x in enumerate(batch):  # one time from each part of [0, 1]
            value = loss(net, x, (k + torch.rand(()).item()) / PARTS) / PARTS
            value.backward()
            mean += value.item()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(net)
        if step % 100 == 0:
            print(f"step {step}: loss {mean / 100:.4f}", flush=True)
            mean = 0.0
    return average


@torch.no_grad()
def sample(net: nn.Module, count: int) -> Tensor:
    """Follow the velocity from noise at t = 0 to images at t = 1, by Euler's method."""
    x = torch.randn(count, 3, SIZE, SIZE)
    for k in range(SAMPLING_STEPS):
        x = x + net(x, k / SAMPLING_STEPS) / SAMPLING_STEPS
    return x


def main(path: Path = Path("minimal.png")) -> None:
    print(f"drawing {NUM_IMAGES:,} faces", flush=True)
    torch.manual_seed(0)
    avatars = Avatars(NUM_IMAGES, SIZE)
    images = torch.stack([torch.tensor(avatars[i]) for i in range(len(avatars))]) / 127.5 - 1
    print(f"training for {STEPS:,} steps", flush=True)
    net = train(DPI(UNet()), images)
    samples = ((sample(net, 36).clamp(-1, 1) + 1) * 127.5).byte()
    save_grid(samples.permute(0, 2, 3, 1).numpy(), path)


if __name__ == "__main__":
    main()
