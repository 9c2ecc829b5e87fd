"""Coefficients c_k(s) that need not be monotone, for several parameter sets."""

import math

import torch
from torch import Tensor, nn

from dpi.interpolation.scalar import Range, look_up


class Coefficients(nn.Module):
    """The c_k(s) of theta(s) = theta_0 + sum_k c_k(s) (theta_k - theta_{k-1}), k = 1 ... K-1.

    They are piecewise linear between values phi at knots that are evenly spaced in s. With
    mixture, the values are logits of the weights of K sets,

        theta(s) = sum_k p_k(s) theta_k,   p = softmax_k(phi_k(s)),   c_k = p_k + ... + p_{K-1},

    the mixture of experts of Remix-DiT (Fang et al., 2024). Else they are the c_k themselves.

    At the start c_k(s) = cos(k pi s), or each set of the mixture has most weight in a part of the
    range of its own. If the sets are equal, theta(s) does not depend on s.

    Args:
        num_sets: K.
        num_scalars: S, the number of steps of s.
        mixture: see above.
        scalar: what s is, see `Range`.
        knots: number of knots.

    Raises:
        ValueError: fewer than two steps or knots.
    """

    def __init__(
        self,
        num_sets: int,
        num_scalars: int = 1000,
        mixture: bool = False,
        scalar: Range | None = None,
        knots: int = 33,
    ) -> None:
        super().__init__()
        if min(num_scalars, knots) < 2:
            raise ValueError(f"at least 2 steps and knots, got {num_scalars} and {knots}")
        self.num_sets = num_sets
        self.num_scalars = num_scalars
        self.mixture = mixture
        self.scalar = scalar
        self.phi = nn.Parameter(torch.empty(num_sets if mixture else num_sets - 1, knots))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set phi as described above."""
        s = torch.linspace(0, 1, self.phi.shape[1])
        k = torch.arange(self.num_sets)[:, None]
        if self.mixture:
            self.phi.copy_(-((s * (self.num_sets - 1) - k) ** 2))
        else:
            self.phi.copy_((k[1:] * math.pi * s).cos())

    def coefficients(self, where: Tensor) -> Tensor:
        """c at positions in [0, S-1] among the steps, (K - 1, *where.shape)."""
        knot = where * ((self.phi.shape[1] - 1) / (self.num_scalars - 1))
        values = look_up(self.phi.float(), knot, "linear")
        if not self.mixture:
            return values
        p = values.softmax(dim=0)
        return p.flip(0).cumsum(dim=0).flip(0)[1:]

    def table(self) -> Tensor:
        """c at the S steps, (K - 1, S)."""
        return self.coefficients(torch.arange(self.num_scalars))

    def extra_repr(self) -> str:
        kind = "weights of a mixture" if self.mixture else "coefficients"
        scalar = "" if self.scalar is None else f", s: {self.scalar}"
        return f"{self.num_scalars} scalars, {len(self.phi)} {kind}{scalar}"
