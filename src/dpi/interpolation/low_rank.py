"""Parameter sets that differ at low rank."""

import math
from collections.abc import Collection, Iterator, Sequence

from torch import Tensor, nn

from dpi.interpolation.lerp import precise
from dpi.precision import autocast_off


def products(u: Tensor, v: Tensor) -> Tensor:
    """The U_k V_k, (N, O, ...), of U, (N, O, r), and V, (N, r, ...)."""
    with autocast_off(u.device):
        return (u @ v.flatten(2)).unflatten(2, v.shape[2:])


class LowRank(nn.Module):
    """The differences theta_k - theta_{k-1} = U_k V_k of each parameter, k = 1 ... N.

    A weight of shape (O, ...) is a matrix of O rows here, with U_k of shape (O, r) and V_k of shape
    (r, ...). Vectors, such as biases and the scales of norms, differ by vectors V_k. All V_k are
    zero at the start. DPI is the case N = 1 with full rank.

    Args:
        net: the network with the parameters theta0.
        shared: names of parameters that the sets share.
        bases: N.
        rank: r, or r as a fraction of the full rank of each weight, rounded up.

    Raises:
        ValueError: a rank that is not positive, or a fraction above 1.
    """

    def __init__(
        self, net: nn.Module, shared: Collection[str], bases: int, rank: int | float
    ) -> None:
        super().__init__()
        if not 0 < rank <= (1 if isinstance(rank, float) else math.inf):
            raise ValueError(f"rank must be a positive integer or a fraction in (0, 1], got {rank}")
        self.bases, self.rank = bases, rank
        self.names: list[str] = []
        self.u, self.v = nn.ParameterDict(), nn.ParameterDict()
        for name, parameter in net.named_parameters():
            if name in shared:
                continue
            self.names.append(name)
            key = name.replace(".", "/")
            if parameter.dim() < 2:
                self.v[key] = parameter.new_empty(bases, *parameter.shape)
                continue
            rows, *columns = parameter.shape
            full = min(rows, math.prod(columns))
            r = min(full, math.ceil(rank * full) if isinstance(rank, float) else rank)
            self.u[key] = parameter.new_empty(bases, rows, r)
            self.v[key] = parameter.new_empty(bases, r, *columns)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the U_k from a normal distribution and set the V_k to zero."""
        for u in self.u.values():
            # A step of Adam on all V_k changes theta as much as one on theta0 does. With larger U_k
            # training diverges at learning rates that are good for theta0.
            nn.init.normal_(u, std=u.shape[-1] ** -0.5 / self.bases)
        for v in self.v.values():
            nn.init.zeros_(v)

    def factors(self) -> Iterator[tuple[Tensor | None, Tensor]]:
        """(U, V) of each parameter, (N, O, r) and (N, r, ...); (None, V) of a vector."""
        for key, v in self.v.items():
            yield self.u.get(key), v

    def forward(self, theta0: Sequence[Tensor]) -> list[list[Tensor]]:
        """theta0, theta1 and on, N + 1 lists of parameters."""
        sets = [list(theta0)]
        # unbind: the backward pass of an index would fill a tensor of zeros for each k.
        steps = [v.unbind() if u is None else products(u, v).unbind() for u, v in self.factors()]
        for step_k in zip(*steps, strict=True):
            sets.append([below + step for below, step in zip(sets[-1], step_k, strict=True)])
        return sets

    def theta(self, c: Tensor, theta0: Sequence[Tensor]) -> list[Tensor]:
        """theta0 + sum_k c_k U_k V_k, computed in float32 or higher, for c of shape (N,)."""
        theta = []
        for first, (u, v) in zip(theta0, self.factors(), strict=True):
            c_k = c.to(precise(v).dtype)
            if u is None:
                step = c_k @ precise(v)
            else:
                # One product for all k, (O, N r) times (N r, ...).
                scaled = (c_k[:, None, None] * precise(u)).transpose(0, 1).flatten(1)
                step = (scaled @ precise(v).flatten(2).flatten(0, 1)).view(first.shape)
            theta.append((precise(first) + step).to(first.dtype))
        return theta

    def extra_repr(self) -> str:
        return f"{self.bases} differences of rank {self.rank}"
