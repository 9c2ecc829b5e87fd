"""A framework of your own: TrigFlow (Lu and Song, 2024), a rotation from images to noise.

PYTHONPATH=examples/extending python train.py --config-dir examples/extending/configs \
    framework=trig_flow data=avatars scale=mini
"""

import math

import torch
from torch import Tensor
from tqdm import tqdm

from dpi.errors import UserError
from dpi.frameworks import predict
from dpi.frameworks.samplers import Network
from dpi.interpolation import position


class TrigFlow:
    """x_a = cos(a) x + sin(a) z for angles a from 0, images, to pi/2, noise; the network predicts
    d x_a / d a = cos(a) z - sin(a) x. See `dpi.frameworks.Framework`.

    Args:
        num_scalars: S; step i is the angle pi/2 i / (S - 1).
        precondition: has no effect, as c_skip = 0 and c_out = 1.
    """

    solvers = ("rotation",)

    def __init__(self, num_scalars: int = 1000, precondition: bool = False) -> None:
        self.num_scalars, self.precondition = num_scalars, precondition

    def corrupt(self, x: Tensor, noise: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """x_a and its target, both (B, 3, H, W)."""
        a = math.pi / 2 * position(s, self.num_scalars) / (self.num_scalars - 1)
        a = a.reshape(-1, 1, 1, 1).to(x)
        return a.cos() * x + a.sin() * noise, a.cos() * noise - a.sin() * x

    def preconditioning(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip = 0 and c_out = 1, shaped as s: for x of unit variance, x_a says nothing of the
        target, whose variance is 1."""
        one = torch.ones(s.shape)
        return 0 * one, one

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        noise: Tensor,
        num_steps: int = 200,
        solver: str | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Rotate noise into images in equal angles h: x_{a-h} = cos(h) x_a - sin(h) g(x_a, a)."""
        if solver not in (None, *self.solvers):
            raise UserError(f"solver={solver}: unknown for TrigFlow; give rotation")
        if num_steps < 1:
            raise UserError(f"steps={num_steps}: too few; give at least 1")
        x, h = noise, math.pi / 2 / num_steps
        for s in tqdm(torch.linspace(1, 0, num_steps + 1)[:-1], disable=not progress, leave=False):
            x = math.cos(h) * x - math.sin(h) * predict(self, network, x, s)
        return x.clamp(-1, 1)
