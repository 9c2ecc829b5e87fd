"""Weightings of the training loss over the scalars. All evaluations are unweighted.

Each maps the squared errors of samples, (B,), and their scalars, (B,), to what is minimized, (B,).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpi.frameworks import Framework, VPDiffusion
from dpi.interpolation import look_up, position

GAMMA = 5.0
"""Hang et al.'s choice."""
COSINES = 16


def make_weighting(
    name: str | None, framework: Framework
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The weighting that `training.loss_weighting` names; None for none."""
    if name == "min_snr":
        return MinSNR(framework)
    if name == "uncertainty":
        return Uncertainty(framework.num_scalars)
    return None


class MinSNR:
    """Min-SNR-gamma (Hang et al., 2023): errors of the predicted image weighted by min(SNR, gamma),

        min(SNR_t, gamma) / SNR_t  times the error of the noise,   SNR_t = abar_t / (1 - abar_t).

    The error is that of the noise, whether the network predicts it or, with
    framework.precondition, v.

    Args:
        framework: has the noise levels.
    """

    def __init__(self, framework: VPDiffusion) -> None:
        snr = framework.sigmas**-2
        self.weights = snr.clamp(max=GAMMA) / snr

    def __call__(self, error: Tensor, s: Tensor) -> Tensor:
        return look_up(self.weights, s).to(error.device, non_blocking=True) * error


class Uncertainty(nn.Module):
    """EDM2's learned weighting (Karras et al., 2024, after Kendall et al., 2018),

        error / exp(u(s)) + u(s),

    whose minimum over u is u(s) = log E[error | s]: every scalar then counts the same. u is linear
    in Fourier features of the scalar, as EDM2's is,

        u(s) = sum_k w_k cos(k theta(s)),   theta(s) = arccos(1 - 2 s / (S-1)),   k = 0 ... 15,

    with w = 0 at first, so training begins with the unweighted error. In theta the steps at both
    ends of the schedule, where the error changes fast, are far apart, see `quadrature.weights`.

    Args:
        num_scalars: S.
    """

    def __init__(self, num_scalars: int) -> None:
        super().__init__()
        self.num_scalars = num_scalars
        self.w = nn.Parameter(torch.zeros(COSINES))

    def u(self, s: Tensor) -> Tensor:
        """The logarithm of the error that is expected at each scalar, shaped as s."""
        where = position(s, self.num_scalars) / (self.num_scalars - 1)
        theta = torch.arccos(1 - 2 * where)
        cosines = torch.cos(theta[..., None] * torch.arange(COSINES, device=s.device))
        return (cosines.to(self.w.device, non_blocking=True) * self.w).sum(-1)

    def forward(self, error: Tensor, s: Tensor) -> Tensor:
        u = self.u(s)
        return error / u.exp() + u
