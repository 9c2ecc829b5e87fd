"""The networks that a sampler needs, interpolated once and for all."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dpi.interpolation.scalar import position


class Baked(nn.Module):
    """g(x, s) at some scalars only, each a plain network; build one with `Interpolated.bake`."""

    def __init__(
        self, at: Callable[[Tensor], nn.Module], scalars: Sequence[Tensor], num_scalars: int
    ) -> None:
        super().__init__()
        self.num_scalars = num_scalars
        self.networks = nn.ModuleList(at(s) for s in scalars)
        self._places = {self._key(s): i for i, s in enumerate(scalars)}

    def forward(self, x: Tensor, s: Tensor | float, *args: Any, **kwargs: Any) -> Any:
        """As `Interpolated.forward`, with one scalar for the batch.

        Raises:
            ValueError: s was not baked.
        """
        s = torch.as_tensor(s)
        if s.numel() != 1 or self._key(s) not in self._places:
            raise ValueError(f"s must be one of the {len(self.networks)} baked scalars, got {s}")
        return self.networks[self._places[self._key(s)]](x, *args, **kwargs)

    def _key(self, s: Tensor) -> float:
        return round(float(position(s.reshape(()), self.num_scalars)), 4)
