"""Fine-tune a pretrained denoiser with DPI, starting from two copies of its weights.

    python examples/pretrained.py [weights.pth]

weights.pth is a state dict of DPIR's UNetRes for color images with a noise-level map, such as
drunet_color.pth (64, 128, 256, 512 channels). Without it, the example first trains a small network
of this architecture on cartoon faces for a short time.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpi.architectures import DRUNet, import_dpir
from dpi.data import Avatars, to_unit
from dpi.interpolation import interpolate, parameter_groups

SIZE, STEPS, BATCH = 16, 300, 32


def load_images(count: int = 512) -> Tensor:
    """Cartoon faces in [-1, 1], shape (count, 3, 16, 16)."""
    source = Avatars(count, SIZE, seed=0)
    return to_unit(torch.stack([torch.from_numpy(source[i].copy()) for i in range(count)]))


def corrupt(x: Tensor, s: Tensor) -> Tensor:
    """Add noise of standard deviation s."""
    return x + s.reshape(-1, 1, 1, 1) * torch.randn_like(x)


def load_pretrained(path: str) -> DRUNet:
    """Load a state dict of DPIR into a DRUNet of its width and depth.

    The pretrained denoiser has a fourth input channel for the noise level. DPI conditions on it
    through the parameters instead, so the weights of this channel are dropped.
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


def train(net: nn.Module, x: Tensor, conditional: bool) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(net, lr=1e-3, lr_lambda=1e-2))
    for step in range(STEPS):
        clean = x[torch.randint(len(x), (BATCH,))]
        s = torch.rand(BATCH)
        noisy = corrupt(clean, s)
        loss = F.mse_loss(net(noisy, s) if conditional else net(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"  step {step + 1}: {loss.item():.4f}")


@torch.no_grad()
def error(net: nn.Module, x: Tensor, conditional: bool) -> float:
    """Mean squared error averaged over noise levels, with fixed noise."""
    torch.manual_seed(1)
    losses = []
    for s in torch.linspace(0.05, 1, 20):
        noisy = corrupt(x, s)
        losses.append(F.mse_loss(net(noisy, s) if conditional else net(noisy), x))
    return torch.stack(losses).mean().item()


def main(weights: str | None = None) -> None:
    torch.manual_seed(0)
    x = load_images()
    train_on, held_out = x[64:], x[:64]
    if weights:
        net = load_pretrained(weights)
    else:
        net = DRUNet(channels=(16, 32, 64, 128), num_blocks=2, dropout=0)
        print("pretraining:")
        train(net, train_on, conditional=False)
    before = error(net, held_out, conditional=False)
    dpi = interpolate(net)
    print(
        f"held-out error before {before:.5f}, with two equal sets {error(dpi, held_out, True):.5f}"
    )
    print("fine-tuning with DPI:")
    train(dpi, train_on, conditional=True)
    print(f"held-out error after {error(dpi, held_out, True):.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
