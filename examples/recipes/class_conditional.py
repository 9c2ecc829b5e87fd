"""A class beside the time: ADM's embedding has the class, its parameters the time.

    g(x, t, label) = f((1 - lambda(t)) theta0 + lambda(t) theta1, x, label)

Two conditionings of one network that know nothing of each other: ADM embeds an integer, which the
paper's MLP conditioning makes the time step and which is the label here, and DPI interpolates
between two sets of its parameters. Flow matching of colored waves in four directions.

    python examples/recipes/class_conditional.py
"""

import torch
from torch import Tensor, nn

from dpi.architectures import ADM
from dpi.interpolation import interpolate, parameter_groups

SIZE, BATCH, PARTS, SAMPLING_STEPS = 16, 32, 4, 20
WAVES = torch.tensor([[0, 2], [2, 0], [2, 2], [2, -2]])  # periods down and across, a row a class


def waves(labels: Tensor) -> Tensor:
    """Waves of random phase and color, shape (len(labels), 3, SIZE, SIZE), in [-1, 1]."""
    count = len(labels)
    down, across = WAVES[labels].T[..., None, None] * torch.arange(SIZE) / SIZE
    phase = down.mT + across + torch.rand(count, 1, 1)
    color = nn.functional.normalize(torch.randn(count, 3, 1, 1), dim=1)
    return color * (2 * torch.pi * phase).sin()[:, None]


def classify(x: Tensor) -> Tensor:
    """The direction in which most of the energy is, shape (len(x),)."""
    energy = torch.fft.fft2(x).abs().square().sum(1)
    return energy[:, WAVES[:, 0], WAVES[:, 1]].argmax(1)


@torch.no_grad()
def sample(net: nn.Module, labels: Tensor) -> Tensor:
    """Euler's method from noise at t = 0 to images at t = 1."""
    x = torch.randn(len(labels), 3, SIZE, SIZE)
    for k in range(SAMPLING_STEPS):
        x = x + net(x, k / SAMPLING_STEPS, labels) / SAMPLING_STEPS
    return x


def main(steps: int = 150) -> float:
    torch.manual_seed(0)
    adm = ADM(
        image_size=SIZE,
        base_channels=16,
        channel_mult=(1, 2),
        attention_resolutions=(),
        num_heads=2,
        head_channels=None,
        norm_groups=4,
        dropout=0.0,
        time_embedding=True,
    )
    net = interpolate(adm)
    optimizer = torch.optim.AdamW(parameter_groups(net, lr=3e-3, lr_lambda=1e-2))
    for _ in range(steps):
        labels = torch.randint(len(WAVES), (BATCH,))
        x, noise = waves(labels), torch.randn(BATCH, 3, SIZE, SIZE)
        t = (torch.arange(PARTS) + torch.rand(PARTS)) / PARTS  # one time for each part
        t = t.repeat_interleave(BATCH // PARTS)
        between = torch.lerp(noise, x, t[:, None, None, None])
        loss = (net(between, t, labels) - (x - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    labels = torch.arange(len(WAVES)).repeat(16)
    right = (classify(sample(net, labels)) == labels).float().mean().item()
    print(f"loss {loss.item():.3f}; samples of their class: {100 * right:.0f} %")
    return right


if __name__ == "__main__":
    main()
