"""Networks with the parameters theta(s) computed in advance, for the scalars a sampler uses."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dpi.interpolation.scalar import Range, position


class Baked(nn.Module):
    """g(x, s) at a fixed set of scalars, one plain network each. Returned by `Interpolated.bake`.

    Args:
        at: returns the plain network for a scalar, as `Interpolated.at` does.
        scalars: the scalars to compute it for, each of shape ().
        num_scalars, scalar: S and what s is, see `interpolate`.
    """

    def __init__(
        self,
        at: Callable[[Tensor], nn.Module],
        scalars: Sequence[Tensor],
        num_scalars: int,
        scalar: Range | None,
    ) -> None:
        super().__init__()
        self.num_scalars, self.scalar = num_scalars, scalar
        self.networks = nn.ModuleList(at(s) for s in scalars)
        self._indices = {self._key(s): i for i, s in enumerate(scalars)}

    def forward(self, x: Tensor, s: Tensor | float, *args: Any, **kwargs: Any) -> Any:
        """Run the network of one scalar; the arguments are those of `Interpolated.forward`.

        Raises:
            ValueError: s is not one of the baked scalars.
        """
        s = torch.as_tensor(s)
        if s.numel() != 1 or self._key(s) not in self._indices:
            raise ValueError(f"s must be one of the {len(self.networks)} baked scalars, got {s}")
        return self.networks[self._indices[self._key(s)]](x, *args, **kwargs)

    def _key(self, s: Tensor) -> float:
        return round(float(position(s.reshape(()), self.num_scalars, self.scalar)), 4)
