"""A diffusers UNet2DModel, conditioned by DPI and sampled with diffusers' schedulers.

    EulerDiscreteScheduler, HeunDiscreteScheduler (Karras et al., 2022)    t from 999 to 0
    FlowMatchEulerDiscreteScheduler (Esser et al., 2024)                   t = 1000 sigma, 1000 to 1

All are float32 tensors without dimensions, such as 978.6122, and go to the network as they are,
with a `Range` that contains those of training, too. The UNet has a timestep argument of its own,
which is fixed at 0. Toy data: two images of stripes.

    python examples/recipes/diffusers_schedulers.py
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UNet2DModel,
)
from torch import Tensor, nn

from dpi.interpolation import Range, interpolate, parameter_groups

STRIPES = torch.tensor([1.0, 1, -1, -1]).repeat(2).reshape(1, 8, 1).expand(1, 8, 8)
PATTERNS = torch.stack([STRIPES, -STRIPES])
DDPM = DDPMScheduler(prediction_type="v_prediction", beta_start=0.00085, beta_end=0.012)


def network(scalar: Range) -> nn.Module:
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
    )
    return interpolate(unet, scalar=scalar)


def train(net: nn.Module, corrupt: Callable[[Tensor, Tensor], tuple], steps: int) -> None:
    optimizer = torch.optim.Adam(parameter_groups(net, lr=5e-3, lr_lambda=1e-2))
    for _ in range(steps):
        x = PATTERNS[torch.randint(len(PATTERNS), (16,))]
        noisy, t, target = corrupt(x, torch.randn_like(x))
        loss = (net(noisy, t, timestep=0).sample - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def diffusion(x: Tensor, noise: Tensor) -> tuple:
    t = torch.randint(1000, (len(x),))
    return DDPM.add_noise(x, noise, t), t, DDPM.get_velocity(x, noise, t)


def flow(x: Tensor, noise: Tensor) -> tuple:
    sigma = torch.rand(len(x), 1, 1, 1)
    return (1 - sigma) * x + sigma * noise, 1000 * sigma.flatten(), noise - x


@torch.no_grad()
def sample(net: nn.Module, scheduler: Any, num_steps: int, count: int = 32) -> Tensor:
    scheduler.set_timesteps(num_steps)
    scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
    x = torch.randn(count, 1, 8, 8) * getattr(scheduler, "init_noise_sigma", 1)
    for t in scheduler.timesteps:
        x = scheduler.step(net(scale(x, t), t, timestep=0).sample, t, x).prev_sample
    return x


def distance(x: Tensor) -> float:
    """Root mean square distance of images from the nearest pattern."""
    distances = (x[:, None] - PATTERNS).square().mean(dim=(2, 3, 4))
    return distances.amin(dim=1).mean().sqrt().item()


def main(steps: int = 100, num_steps: int = 10) -> dict[str, float]:
    torch.manual_seed(0)
    denoiser, velocity = network(Range(0, 999)), network(Range(0, 1000))
    train(denoiser, diffusion, steps)
    train(velocity, flow, steps)
    found = {"noise": distance(torch.randn(32, 1, 8, 8))}
    for net, scheduler in (
        (denoiser, EulerDiscreteScheduler.from_config(DDPM.config)),
        (denoiser, HeunDiscreteScheduler.from_config(DDPM.config, use_karras_sigmas=True)),
        (velocity, FlowMatchEulerDiscreteScheduler()),
    ):
        found[type(scheduler).__name__] = distance(sample(net, scheduler, num_steps))
    for name, value in found.items():
        print(f"{name}: distance from the nearest pattern {value:.3f}")
    return found


if __name__ == "__main__":
    main()
