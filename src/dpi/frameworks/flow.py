"""Flow matching: a straight path from noise to data, its velocity predicted, its ODE solved."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm import tqdm

from dpi.errors import UserError
from dpi.interpolation import position

Network = Callable[[Tensor, Tensor], Tensor]


class FlowMatching:
    """Equation (1) with beta_t = t and gamma_t = 1 - t: x_t = t x_1 + (1 - t) x_0.

    Args:
        num_scalars: S, the number of steps; step i is time t = i / (S - 1), from noise (t = 0)
            to data (t = 1).
    """

    solvers = ("euler", "midpoint", "heun2", "heun3", "rk4")
    """torchdiffeq's with steps of a given length; Euler is the paper's. (The others choose their
    steps by the error over a whole batch, so that a picture would depend on its neighbours.)"""

    def __init__(self, num_scalars: int = 1000) -> None:
        self.num_scalars = num_scalars

    def corrupt(self, x: Tensor, noise: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Go to time t of the path, (1).

        Args:
            x: x_1, (B, 3, H, W) pictures in [-1, 1].
            noise: x_0, standard normal, shaped as x.
            s: (B,) or (): steps in 0 ... S-1, or times in [0, 1].

        Returns:
            (x_t, v): what the network sees and what it is to predict, the velocity
            d x_t / dt = x_1 - x_0, both shaped as x.
        """
        t = position(s, self.num_scalars) / (self.num_scalars - 1)
        t = t.reshape(-1, 1, 1, 1).to(x)
        return t * x + (1 - t) * noise, x - noise

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        noise: Tensor,
        num_steps: int = 200,
        solver: str = "euler",
        progress: bool = False,
    ) -> Tensor:
        """Follow the velocity from t = 0 to t = 1 in equal steps.

        Args:
            network: v(x_t, t), with t a float in [0, 1].
            noise: x_0, (B, 3, H, W), standard normal.
            num_steps: of the solver; each as many network evaluations as the solver's order.
            solver: one of `solvers`.
            progress: show a progress bar.

        Returns:
            x_1, (B, 3, H, W), clipped to [-1, 1]; a function of network and noise.

        Raises:
            UserError: no such solver.
        """
        if solver not in self.solvers:
            raise UserError(f"solver={solver}: the flow has {', '.join(self.solvers)}")
        # The times stay on the CPU, where reading them costs no synchronisation.
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        times = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
        with tqdm(desc=solver, disable=not progress, leave=False) as bar:

            def velocity(t: Tensor, x: Tensor) -> Tensor:
                bar.update()
                return network(x, t.float())

            path = odeint(
                velocity,
                noise,
                ends,
                method=solver,
                options={"grid_constructor": lambda func, x, t: times},
            )
        return path[-1].clamp(-1, 1)
