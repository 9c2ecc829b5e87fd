"""lambda(s): how far the network has moved from theta0 to theta1 (Section 3.2 of the paper)."""

from typing import Literal

import torch
from torch import Tensor, nn

from dpi.interpolation.scalar import at


class InterpolationFunction(nn.Module):
    """A monotone lambda: s -> [0, 1], learned (lambda_phi) or fixed (lambda(s) = s).

    Learned, it is a normalised cumulative sum over S steps,

        p = softmax(phi),   lambda_phi(s_i) = p_1 + ... + p_i,

    with coefficients phi in R^S that start at zero, a straight line.

    Args:
        num_scalars: S, at least 2.
        schedule: "learnable", or "linear" for lambda(s) = s, which has no coefficients.
        endpoints: the formula above gives lambda = p_1 at the first step ("paper"); "exact"
            takes p_1 away and rescales, so that lambda runs from 0 to 1 as the text says.
        between: lambda at a float s between two steps, see `dpi.interpolation.at`.
    """

    def __init__(
        self,
        num_scalars: int = 1000,
        schedule: Literal["learnable", "linear"] = "learnable",
        endpoints: Literal["paper", "exact"] = "paper",
        between: Literal["linear", "nearest"] = "linear",
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
        if schedule == "learnable":
            self.phi = nn.Parameter(torch.zeros(num_scalars))
        else:
            self.register_parameter("phi", None)
            line = torch.linspace(0, 1, num_scalars)
            self.register_buffer("line", line, persistent=False)

    def table(self) -> Tensor:
        """lambda at the S steps: (S,), increasing, in [0, 1], the last exactly 1."""
        if self.phi is None:
            return self.line
        # At least float32: this is a sum of a thousand terms of 1e-3.
        precise = torch.promote_types(self.phi.dtype, torch.float32)
        if self.endpoints == "paper":
            p = torch.softmax(self.phi, dim=0, dtype=precise)
        else:
            # (lambda - p_1) / (1 - p_1), written so that a p_1 near 1 does no harm
            p = torch.softmax(self.phi[1:], dim=0, dtype=precise)
            p = torch.cat([p.new_zeros(1), p])
        cumulative = p.cumsum(dim=0)
        return cumulative / cumulative[-1]

    def forward(self, s: Tensor) -> Tensor:
        """lambda(s), shaped as s; s is a step or a float in [0, 1] (see `dpi.interpolation.at`)."""
        return at(self.table(), s, self.between)

    def extra_repr(self) -> str:
        schedule = "linear" if self.phi is None else f"learnable, endpoints={self.endpoints}"
        return f"{self.num_scalars} scalars, {schedule}"
