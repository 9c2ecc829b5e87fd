"""Other solvers, from diffusers and torchdiffeq. The paper uses none of them."""

import torch
from torch import Tensor

from dpi.errors import UserError
from dpi.frameworks.samplers import Network
from dpi.progress import Progress

SCHEDULERS = (
    "DEISMultistep",
    "DPMSolverMultistep",
    "EulerDiscrete",
    "HeunDiscrete",
    "KDPM2Discrete",
    "LMSDiscrete",
    "PNDM",
    "UniPCMultistep",
)
"""The schedulers of diffusers that are deterministic, given the initial noise."""

METHODS = ("midpoint", "heun2", "heun3", "rk4")
"""The methods of torchdiffeq with a fixed step size. Adaptive methods choose the step size by the
error over the batch, so that a sample would depend on the others in its batch."""


def run_scheduler(
    network: Network,
    x: Tensor,
    betas: Tensor,
    solver: str,
    num_steps: int = 200,
    progress: bool = False,
) -> Tensor:
    """Sample with a scheduler of diffusers.

    Args:
        network: g(x_t, t), predicts the noise at integer steps t, or at floats t in [0, 1] for
            schedulers that evaluate between steps.
        x: standard normal noise, shape (B, C, H, W).
        betas: the variance added at every step, shape (T,).
        solver: one of SCHEDULERS.
        num_steps: number of steps, at most T; some schedulers evaluate the network twice per step.
        progress: show a progress bar.

    Returns:
        Images, shape (B, C, H, W), not clipped.

    Raises:
        UserError: diffusers is not installed, or the scheduler does not support num_steps.
    """
    if not 1 <= num_steps <= len(betas):
        raise UserError(f"steps={num_steps}: out of range; give 1 to {len(betas)}")
    try:
        import diffusers

        options = {"set_alpha_to_one": True} if solver == "PNDM" else {}  # ends without noise
        scheduler = getattr(diffusers, f"{solver}Scheduler")(
            num_train_timesteps=len(betas), trained_betas=betas.numpy(), **options
        )
        scheduler.set_timesteps(num_steps)
    except ImportError:  # LMSDiscrete also needs scipy
        raise UserError(
            f"solver={solver}: diffusers or scipy is not installed; pip install 'dpi[solvers]'"
        ) from None
    except (ValueError, IndexError) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"steps={num_steps}: not supported by {solver} ({line}); give another number of steps"
        ) from error
    x = x * scheduler.init_noise_sigma
    for t in Progress(scheduler.timesteps, desc=solver, disable=not progress, leave=False):
        s = t / (len(betas) - 1) if t.is_floating_point() else t
        eps = network(scheduler.scale_model_input(x, t), s)
        x = scheduler.step(eps, t, x).prev_sample
    left = getattr(scheduler, "sigmas", torch.zeros(1))[-1]
    if left > 0:  # DEIS ends at step 0, with its noise
        x = (1 + left**2).sqrt() * x - left * network(x, torch.tensor(0))
    return x


def run_odeint(
    network: Network, x: Tensor, solver: str, num_steps: int = 200, progress: bool = False
) -> Tensor:
    """Solve dx/dt = g(x, t) from t = 0 to t = 1 with a method of torchdiffeq, in equal steps.

    Args:
        network: g(x_t, t), predicts the velocity at times t, floats in [0, 1].
        x: standard normal noise, shape (B, C, H, W).
        solver: one of METHODS.
        num_steps: number of steps, each with as many network evaluations as the method's order.
        progress: show a progress bar.

    Returns:
        Images at t = 1, shape (B, C, H, W), not clipped.

    Raises:
        UserError: torchdiffeq is not installed.
    """
    try:
        from torchdiffeq import odeint
    except ImportError:
        raise UserError(
            f"solver={solver}: torchdiffeq is not installed; pip install 'dpi[solvers]'"
        ) from None
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    times = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    with Progress(desc=solver, disable=not progress, leave=False) as bar:

        def velocity(t: Tensor, x: Tensor) -> Tensor:
            bar.update()
            return network(x, t.float())

        grid = {"grid_constructor": lambda func, x, t: times}
        return odeint(velocity, x, ends, method=solver, options=grid)[-1]
