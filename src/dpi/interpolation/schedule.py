"""The interpolation function lambda(s), learnable or linear (Section 3.2 of the paper)."""

from typing import Literal

import torch
from torch import Tensor, nn

from dpi.interpolation.lerp import fractions
from dpi.interpolation.scalar import Range, look_up, position


class InterpolationFunction(nn.Module):
    """A monotone function lambda: s -> [0, 1], learnable (lambda_phi) or fixed (linear in s).

    The learnable function is a normalized cumulative sum over S steps,

        p = softmax(phi),   lambda_phi(s_i) = p_1 + ... + p_i,

    with coefficients phi in R^S. They are initialized to zero, which makes lambda linear.

    Args:
        num_scalars: S, the number of steps, at least 2.
        schedule: "learnable", or "linear", which has no parameters.
        endpoints: with "paper", the formula above, lambda equals p_1 at the first step. With
            "exact", p_1 is subtracted and the rest rescaled, so that lambda runs from 0 to 1 as
            the paper's text says.
        between: how lambda is evaluated at an s between two steps, by "linear" interpolation or by
            the "nearest" step, whose derivative with respect to s is zero.
        scalar: what s is, see `Range`; None for integer steps in [0, S-1] or floats in [0, 1].
        num_sets: K, the number of parameter sets that lambda runs through.

    Raises:
        ValueError: fewer than two steps, or an unknown option.
    """

    phi: nn.Parameter | None

    def __init__(
        self,
        num_scalars: int = 1000,
        schedule: Literal["learnable", "linear"] = "learnable",
        endpoints: Literal["paper", "exact"] = "paper",
        between: Literal["linear", "nearest"] = "linear",
        scalar: Range | None = None,
        num_sets: int = 2,
    ) -> None:
        super().__init__()
        if num_scalars < 2:
            raise ValueError(f"num_scalars must be at least 2, got {num_scalars}")
        if schedule not in ("learnable", "linear"):
            raise ValueError(f"schedule must be 'learnable' or 'linear', got {schedule!r}")
        if endpoints not in ("paper", "exact"):
            raise ValueError(f"endpoints must be 'paper' or 'exact', got {endpoints!r}")
        if between not in ("linear", "nearest"):
            raise ValueError(f"between must be 'linear' or 'nearest', got {between!r}")
        self.num_scalars = num_scalars
        self.endpoints = endpoints
        self.between = between
        self.scalar = scalar
        self.num_sets = num_sets
        phi = nn.Parameter(torch.zeros(num_scalars)) if schedule == "learnable" else None
        self.register_parameter("phi", phi)

    def reset_parameters(self) -> None:
        """Make lambda linear again."""
        if self.phi is not None:
            nn.init.zeros_(self.phi)

    def table(self) -> Tensor:
        """lambda at the S steps: shape (S,), non-decreasing, in [0, 1], the last exactly 1."""
        if self.phi is None:
            return torch.linspace(0, 1, self.num_scalars)
        # In float32 or higher: this sums a thousand terms of about 1e-3.
        precise = torch.promote_types(self.phi.dtype, torch.float32)
        if self.endpoints == "paper":
            p = torch.softmax(self.phi, dim=0, dtype=precise)
        else:
            # (lambda - p_1) / (1 - p_1) without the division, which is unstable for p_1 near 1.
            p = torch.softmax(self.phi[1:], dim=0, dtype=precise)
            p = torch.cat([p.new_zeros(1), p])
        cumulative = p.cumsum(dim=0)
        return cumulative / cumulative[-1]

    def forward(self, s: Tensor) -> Tensor:
        """lambda(s), shaped as s.

        Raises:
            ValueError: a scalar is out of range.
        """
        return self.at(position(s, self.num_scalars, self.scalar))

    def at(self, where: Tensor) -> Tensor:
        """lambda at positions in [0, S-1] among the steps, shaped as they are."""
        return look_up(self.table(), where, self.between)

    def coefficients(self, where: Tensor) -> Tensor:
        """The c of theta = theta_0 + sum_k c_k (theta_k - theta_{k-1}), (K - 1, *where.shape)."""
        return fractions(self.at(where), self.num_sets)

    def extra_repr(self) -> str:
        schedule = "linear" if self.phi is None else f"learnable, endpoints={self.endpoints}"
        scalar = "" if self.scalar is None else f", s: {self.scalar}"
        return f"{self.num_scalars} scalars, {schedule}{scalar}"
