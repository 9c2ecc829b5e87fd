"""From a published denoiser to a DPI model: its weights, two parameter sets, minutes of training.

    python examples/pretrained.py [weights.pth]

weights.pth is a state dict of DPIR's UNetRes for colour pictures with a noise-level map
(drunet_color.pth is one; 64, 128, 256, 512 channels). Without a file the example first makes a
stand-in: a small network of that kind, trained for a moment on cartoon faces.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpi.architectures import DRUNet, import_dpir
from dpi.data import Avatars, to_unit
from dpi.interpolation import interpolate, parameter_groups

SIZE, STEPS, BATCH = 16, 300, 32


def pictures(count: int = 512) -> Tensor:
    """Cartoon faces: (count, 3, 16, 16) in [-1, 1]."""
    source = Avatars(count, SIZE, seed=0)
    return to_unit(torch.stack([torch.from_numpy(source[i].copy()) for i in range(count)]))


def corrupt(x: Tensor, s: Tensor) -> Tensor:
    """Add noise of standard deviation s."""
    return x + s.reshape(-1, 1, 1, 1) * torch.randn_like(x)


def published(path: str) -> DRUNet:
    """The network that a state dict of the public kind belongs to.

    A public denoiser has a fourth input channel for the noise level; DPI tells it by other means,
    so the channel's weights go.
    """
    weights = import_dpir(torch.load(path, weights_only=True))
    weights["head.weight"] = weights["head.weight"][:, :3]
    levels = len({name.split(".")[1] for name in weights if name.startswith("encoder.")})
    blocks = len({name.split(".")[1] for name in weights if name.startswith("body.")})
    first = [f"encoder.{level}.0" for level in range(levels)] + ["body.0"]
    channels = [len(weights[f"{block}.conv1.weight"]) for block in first]
    net = DRUNet(channels=channels, num_blocks=blocks, dropout=0)
    net.load_state_dict(weights)
    return net


def train(net: nn.Module, x: Tensor, told: bool) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(net, lr=1e-3, lr_lambda=1e-2))
    for step in range(STEPS):
        clean = x[torch.randint(len(x), (BATCH,))]
        s = torch.rand(BATCH)
        noisy = corrupt(clean, s)
        loss = F.mse_loss(net(noisy, s) if told else net(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"  step {step + 1}: {loss.item():.4f}")


@torch.no_grad()
def error(net: nn.Module, x: Tensor, told: bool) -> float:
    """Mean squared error over noise levels, the same noise each time."""
    torch.manual_seed(1)
    losses = []
    for s in torch.linspace(0.05, 1, 20):
        noisy = corrupt(x, s)
        losses.append(F.mse_loss(net(noisy, s) if told else net(noisy), x))
    return torch.stack(losses).mean().item()


def main(weights: str | None = None) -> None:
    torch.manual_seed(0)
    x = pictures()
    train_on, held_out = x[64:], x[:64]
    if weights:
        net = published(weights)
    else:
        net = DRUNet(channels=(16, 32, 64, 128), num_blocks=2, dropout=0)
        print("a network to start from:")
        train(net, train_on, told=False)
    before = error(net, held_out, told=False)
    dpi = interpolate(net)
    print(
        f"held-out error before {before:.5f}, with two equal sets {error(dpi, held_out, True):.5f}"
    )
    print("fine-tuning with DPI:")
    train(dpi, train_on, told=True)
    print(f"held-out error after {error(dpi, held_out, True):.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
