"""Flow matching: the network predicts the velocity of a straight path from noise to data."""

from functools import partial

import torch
from torch import Tensor

from dpi.errors import UserError
from dpi.frameworks.extra_solvers import METHODS, run_odeint
from dpi.frameworks.precondition import predict
from dpi.frameworks.samplers import Network, euler
from dpi.interpolation import position


class FlowMatching:
    """x_t = t x_1 + (1 - t) x_0, Equation (1) with beta_t = t and gamma_t = 1 - t.

        >>> image, noise = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
        >>> x_t, v = FlowMatching().corrupt(image, noise, torch.tensor(0.25))
        >>> x_t.item(), v.item()
        (0.25, 1.0)

    Args:
        num_scalars: S, the number of steps. Step i is the time t = i / (S - 1), from noise at
            t = 0 to data at t = 1.
        precondition: let the network predict what is left of the velocity after the part of it that
            is known from x_t, see `preconditioning`.
    """

    solvers = ("euler", *METHODS)
    """Euler's method, the paper's and the default, and methods of torchdiffeq."""

    def __init__(self, num_scalars: int = 1000, precondition: bool = False) -> None:
        if num_scalars < 2:
            raise ValueError(f"num_scalars={num_scalars}: give two or more")
        self.num_scalars = num_scalars
        self.precondition = precondition

    def corrupt(self, x: Tensor, noise: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate between noise and images, Equation (1).

        Args:
            x: images x_1 in [-1, 1], shape (B, C, H, W).
            noise: x_0, standard normal, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, S-1] or times t in [0, 1].

        Returns:
            (x_t, v): the input of the network and its target, the velocity
            v = d x_t / dt = x_1 - x_0, both (B, C, H, W).
        """
        t = position(s, self.num_scalars) / (self.num_scalars - 1)
        t = t.reshape(-1, 1, 1, 1).to(x, non_blocking=True)
        return t * x + (1 - t) * noise, x - noise

    def preconditioning(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(c_skip, c_out) of v = (2t - 1) / n^2 x_t + u / n, shaped as s, with
        n^2 = t^2 + (1 - t)^2 and u = ((1 - t) x_1 - t x_0) / n, of unit variance if x_1 is.
        """
        t = position(s, self.num_scalars) / (self.num_scalars - 1)
        squared = t**2 + (1 - t) ** 2
        return (2 * t - 1) / squared, squared.rsqrt()

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        noise: Tensor,
        num_steps: int = 200,
        solver: str | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Integrate the velocity from t = 0 to t = 1. The result is a function of network and
        noise alone.

        Args:
            network: g(x_t, t), as in `predict`, at times t, floats in [0, 1].
            noise: x_0, standard normal, shape (B, C, H, W).
            num_steps: number of equal steps, each with as many network evaluations as the
                solver's order.
            solver: one of `solvers`; None for the first.
            progress: show a progress bar.

        Returns:
            Images x_1, clipped to [-1, 1], shape (B, C, H, W).

        Raises:
            UserError: an unknown solver, one that is not installed, or num_steps below 1.
        """
        network = partial(predict, self, network)
        solver = solver or self.solvers[0]
        if num_steps < 1:
            raise UserError(f"steps={num_steps}: too few; give at least 1")
        if solver == "euler":
            x = euler(network, noise, num_steps, progress)
        elif solver in METHODS:
            x = run_odeint(network, noise, solver, num_steps, progress)
        else:
            raise UserError(
                f"solver={solver}: unknown for flow matching; give one of {', '.join(self.solvers)}"
            )
        return x.clamp(-1, 1)
