"""FiLM: an embedding of the scalar scales and shifts the output of layers."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpi.interpolation.affine import CONVOLUTIONS
from dpi.interpolation.names import chosen
from dpi.interpolation.scalar import Range, as_scalars, position
from dpi.interpolation.state import one_at_a_time
from dpi.precision import uncast

LAYERS = (nn.Linear, *CONVOLUTIONS)


class FiLM(nn.Module):
    """g(x, s) = f(x), where each linear and convolutional layer of f, or some of them, computes

        h_i = (1 + a_i(s)) (W_i h + bias_i) + b_i(s)

    with a scale and a shift for each of its output channels (Perez et al., 2018). The scales and
    shifts are a linear function of an embedding of the step t in [0, S-1],
    SiLU(W SiLU(W' sinusoidal(t))), that is zero at first: f can be a pretrained network.

        >>> net = FiLM(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)), include=["0"])
        >>> net(torch.randn(8, 2), torch.rand(8)).shape
        torch.Size([8, 3])

    With DPI it is `interpolate(FiLM(net))`, called as g(x, s, s).

    Args:
        net: f, a network that maps a batch to a batch; it is not copied.
        num_scalars: S, the number of steps of s.
        include: file-name patterns of the names of the layers ("*.conv1").
        embedding: length of the embedding, even.
        scalar: what s is, see `Range`; None for integer steps in [0, S-1] or floats in [0, 1].

    Raises:
        ValueError: f has no such layers, or one that has FiLM; or an embedding that is not even.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_scalars: int = 1000,
        include: Iterable[str] = ("*",),
        embedding: int = 64,
        scalar: Range | None = None,
    ) -> None:
        super().__init__()
        if embedding < 2 or embedding % 2:
            raise ValueError(f"embedding={embedding}: it must be even, and at least 2")
        self.network: nn.Module = net
        self.num_scalars, self.embedding, self.scalar = num_scalars, embedding, scalar
        self.widths: dict[str, int] = {}
        """The layers, and the number of their output channels."""
        layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, LAYERS)}
        for module in net.modules():  # it reads the weight of its layer and does not call it
            if isinstance(module, nn.MultiheadAttention):
                layers = {name: of for name, of in layers.items() if of is not module.out_proj}
        included = chosen("linear and convolutional layers", layers, include)
        for name, layer in layers.items():
            if name in included:
                if "film" in layer._buffers:
                    raise ValueError(f"{name} has FiLM already: choose other layers by include=")
                width: Any = getattr(layer, "out_channels", None) or layer.out_features
                self.widths[name] = width
                layer.register_buffer("film", torch.empty(0), persistent=False)
                layer.register_forward_hook(modulate)
        self.embed = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.project = nn.Linear(embedding, 2 * sum(self.widths.values()))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Any, s: Tensor | float, *args: Any, **kwargs: Any) -> Any:
        """Run the network on x, conditioned on s.

        Args:
            x: first argument of the network, shape (B, ...).
            s: one scalar for the batch, shape (), or one per sample, (B,).
            args, kwargs: further arguments of the network.

        Returns:
            The output of the network.

        Raises:
            RuntimeError: a layer's output has other rows than there are samples.
        """
        device = self.project.weight.device
        t = position(as_scalars(s), self.num_scalars, self.scalar).to(device, non_blocking=True)
        e = sinusoidal(t.reshape(-1), self.embedding).to(self.project.weight.dtype)
        e = uncast(self.project, uncast(self.embed, e))
        scales, shifts = e.unflatten(1, (2, -1)).unbind(1)
        sizes = list(self.widths.values())
        pairs = zip(self.widths, scales.split(sizes, 1), shifts.split(sizes, 1), strict=True)
        film = {f"{name}.film": torch.stack([1 + a, b]) for name, a, b in pairs}
        with one_at_a_time():
            return functional_call(self.network, film, (x, *args), kwargs)


def modulate(layer: Any, args: Any, output: Tensor) -> Tensor:
    """A forward hook that scales and shifts a layer's output by its buffer `film`, (2, B, C)."""
    film = layer.film
    if film.dim() != 3:
        raise RuntimeError(
            "a layer with FiLM runs outside of FiLM.forward; with activation checkpointing, "
            "checkpoint the whole: checkpoint(net, x, s)"
        )
    rows, channels = film.shape[1:]
    if output.dim() < 2 or rows not in (1, len(output)):
        raise RuntimeError(
            f"FiLM modulates samples, and the output of a {type(layer).__name__} has shape "
            f"{tuple(output.shape)} for {rows} samples; give other layers by include="
        )
    ones = [1] * (output.dim() - 2)
    shape = (rows, *ones, channels) if isinstance(layer, nn.Linear) else (rows, channels, *ones)
    scale, shift = film.to(output.dtype)
    return torch.addcmul(shift.reshape(shape), output, scale.reshape(shape))


def sinusoidal(t: Tensor, length: int) -> Tensor:
    """Sinusoidal embedding: cosines and sines of t at frequencies from 1 to 1/10000.

    Args:
        t: times, shape (B,).
        length: length of the embedding, even.

    Returns:
        Shape (B, length), float32.
    """
    half = length // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
