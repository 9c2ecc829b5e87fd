"""The weights of the parameter sets: lambda(s) of Section 3.2 of the paper, and a mixture."""

from typing import Literal

import torch
from torch import Tensor, nn

from dpi.interpolation.scalar import Range, look_up, position


class InterpolationFunction(nn.Module):
    """A monotone function lambda: s -> [0, 1], learnable (lambda_phi) or fixed (linear in s).

    The learnable function is a normalized cumulative sum over S steps,

        p = softmax(phi),   lambda_phi(s_i) = p_1 + ... + p_i,

    with coefficients phi in R^S. They are initialized to zero, which makes lambda linear.

        >>> InterpolationFunction(num_scalars=4).table().tolist()
        [0.25, 0.5, 0.75, 1.0]

    Args:
        num_scalars: S, the number of steps, at least 2.
        schedule: "learnable", or "linear", which has no parameters.
        endpoints: with "paper", the formula above, lambda equals p_1 at the first step. With
            "exact", p_1 is subtracted and the rest rescaled, so that lambda runs from 0 to 1 as
            the paper's text says.
        between: how lambda is evaluated at an s between two steps, by "linear" interpolation or by
            the "nearest" step, whose derivative with respect to s is zero.
        scalar: what s is, see `Range`; None for integer steps in [0, S-1] or floats in [0, 1].
        num_sets: K, the number of parameter sets, which lambda runs through in K - 1 segments of
            equal length.

    Raises:
        ValueError: fewer than two steps or sets, or an unknown option.
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
        _at_least_2(num_scalars=num_scalars, num_sets=num_sets)
        if schedule not in ("learnable", "linear"):
            raise ValueError(f"schedule must be 'learnable' or 'linear', got {schedule!r}")
        if endpoints not in ("paper", "exact"):
            raise ValueError(f"endpoints must be 'paper' or 'exact', got {endpoints!r}")
        if between not in ("linear", "nearest"):
            raise ValueError(f"between must be 'linear' or 'nearest', got {between!r}")
        self.num_scalars = num_scalars
        self.endpoints = endpoints
        self.between: Literal["linear", "nearest"] = between
        self.scalar = scalar
        self.num_sets = num_sets
        phi = nn.Parameter(torch.zeros(num_scalars)) if schedule == "learnable" else None
        self.register_parameter("phi", phi)

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
        return look_up(self.table(), s, self.between, self.scalar)

    def weights(self, s: Tensor) -> Tensor:
        """The w of theta(s) = sum_k w_k(s) theta_k, (K, *s.shape)."""
        lam = self(s)
        if self.num_sets == 2:
            return torch.stack([1 - lam, lam])
        path = lam * (self.num_sets - 1)
        segment = path.detach().nan_to_num().floor().clamp(max=self.num_sets - 2)
        k = torch.arange(self.num_sets, device=lam.device).reshape(-1, *[1] * lam.dim())
        within = path - segment
        return torch.where(k == segment, 1 - within, torch.where(k == segment + 1, within, 0.0))


class Mixture(nn.Module):
    """Weights of K parameter sets that need not follow each other,

        theta(s) = sum_k w_k(s) theta_k,   w(s) = softmax(phi(s)),

    as in Remix-DiT (Fang et al., 2024). phi is piecewise linear between knots that are evenly
    spaced in s. At the start each set has most weight in a part of the range of its own.

        >>> Mixture(num_sets=2)(torch.tensor([0.0, 0.5, 1.0])).detach()
        tensor([[0.7311, 0.5000, 0.2689],
                [0.2689, 0.5000, 0.7311]])

    Args:
        num_sets: K, at least 2.
        num_scalars: S, the number of steps of s, at least 2.
        scalar: what s is, see `Range`; None for integer steps in [0, S-1] or floats in [0, 1].
        knots: number of knots, at least 2.

    Raises:
        ValueError: fewer than two sets, steps or knots.
    """

    def __init__(
        self,
        num_sets: int = 2,
        num_scalars: int = 1000,
        scalar: Range | None = None,
        knots: int = 33,
    ) -> None:
        super().__init__()
        _at_least_2(num_sets=num_sets, num_scalars=num_scalars, knots=knots)
        self.num_sets = num_sets
        self.num_scalars = num_scalars
        self.scalar = scalar
        self.phi = nn.Parameter(torch.empty(num_sets, knots))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set phi as described above."""
        s = torch.linspace(0, 1, self.phi.shape[1])
        self.phi.copy_(-((s * (self.num_sets - 1) - torch.arange(self.num_sets)[:, None]) ** 2))

    def table(self) -> Tensor:
        """w at the S steps, (K, S)."""
        return self._at(torch.arange(self.num_scalars))

    def forward(self, s: Tensor) -> Tensor:
        """w(s), (K, *s.shape).

        Raises:
            ValueError: a scalar is out of range.
        """
        return self._at(position(s, self.num_scalars, self.scalar))

    weights = forward

    def _at(self, where: Tensor) -> Tensor:
        precise = torch.promote_types(self.phi.dtype, torch.float32)
        return look_up(self.phi.to(precise), where / (self.num_scalars - 1)).softmax(dim=0)


Weights = InterpolationFunction | Mixture
"""What gives the w of theta(s) = sum_k w_k(s) theta_k."""


def _at_least_2(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 2:
            raise ValueError(f"{name} must be at least 2, got {number}")
