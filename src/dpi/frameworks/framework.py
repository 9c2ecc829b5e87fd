"""The interface of a generative framework."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from dpi.frameworks.samplers import Network


class Framework(Protocol):
    """How images are corrupted, what the network predicts of them, and how samples are drawn.
    Any class with these members is one."""

    num_scalars: int
    """S, the number of steps of the schedule, 0 ... S-1."""

    precondition: bool
    """Whether predictions are made with `preconditioning`."""

    @property
    def solvers(self) -> Sequence[str]:
        """Names of the solvers that `sample` takes, the default first."""

    def corrupt(self, x: Tensor, noise: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Corrupt images at the scalar s.

        Args:
            x: images in [-1, 1], shape (B, C, H, W).
            noise: standard normal, shape (B, C, H, W), on the device of x.
            s: shape () or (B,), integer steps in [0, S-1] or floats in [0, 1], on the CPU.

        Returns:
            The network's input and its target, both (B, C, H, W).
        """

    def preconditioning(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip and c_out of `predict`, shaped as s; called only if `precondition` is set."""

    def sample(
        self,
        network: Network,
        noise: Tensor,
        num_steps: int = 200,
        solver: str | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Turn noise into images, each a function of the network and its own noise alone.

        Args:
            network: g(x, s), to be called through `predict`, with s of shape (): an integer step
                or a float in [0, 1].
            noise: standard normal, shape (B, C, H, W).
            num_steps: number of solver steps.
            solver: one of `solvers`; None for the first.
            progress: show a progress bar.

        Returns:
            Images in [-1, 1], shape (B, C, H, W).

        Raises:
            UserError: no such solver, or it cannot take so many steps. Found by calling this with
                a network that does nothing, before the training.
        """
