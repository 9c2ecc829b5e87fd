"""FiLM: an embedding of the scalar scales and shifts the output of every layer."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpi.architectures import Architecture
from dpi.architectures.adm import sinusoidal, zeroed
from dpi.frameworks import Framework
from dpi.interpolation import position
from dpi.interpolation.per_sample import DESCRIPTIONS
from dpi.interpolation.replica import Replica
from dpi.precision import uncast

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class FiLM(nn.Module):
    """g(x, s) = f(x), where each linear and convolutional layer of f, or some of them, computes

        h_i = (1 + a_i(s)) (W_i h + bias_i) + b_i(s)

    with a scale and a shift for each of its output channels (Perez et al., 2018). The scales and
    shifts are a linear function of an embedding of the step t, SiLU(W SiLU(W' sinusoidal(t))), that
    is zero at first: f can be a pretrained network. f may itself be conditioned on s.

    Args:
        network: creates the base network f.
        framework: defines the number of scalars.
        embedding: length of the embedding, even.
        include: file-name patterns of the names of the layers ("*.conv1").

    Raises:
        ValueError: f has no such layers, or an embedding that is not even.
    """

    def __init__(
        self,
        network: Architecture,
        framework: Framework,
        embedding: int = 64,
        include: Iterable[str] = ("*",),
    ) -> None:
        super().__init__()
        if embedding < 2 or embedding % 2:
            raise ValueError(f"embedding={embedding}: it must be even, and at least 2")
        self.network = network()
        self.num_scalars = framework.num_scalars
        self.embedding = embedding
        include = [include] if isinstance(include, str) else list(include)
        self.widths = {
            name: width
            for name, layer in self.network.named_modules()
            if any(fnmatchcase(name, pattern) for pattern in include)
            if (width := _width(layer))
        }
        """The layers, and the number of their output channels."""
        if not self.widths:
            raise ValueError(
                f"{type(self.network).__name__} has no linear or convolutional layer named "
                f"{' or '.join(include)}"
            )
        self.embed = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.project = zeroed(nn.Linear(embedding, 2 * sum(self.widths.values())))

    def forward(self, x: Tensor, s: Tensor, *args: Any) -> Tensor:
        """Predict the framework's target.

        Args:
            x: corrupted images, shape (B, C, H, W).
            s: shape () or (B,), integer steps in [0, S-1] or floats in [0, 1].
            args: further arguments of f.

        Returns:
            Shape (B, C, H, W).

        Raises:
            RuntimeError: f uses the weight of a layer other than by calling the layer on a batch.
        """
        t = position(torch.as_tensor(s), self.num_scalars).to(x.device, non_blocking=True)
        e = uncast(self.embed, sinusoidal(t.reshape(-1), self.embedding).to(x))
        scales, shifts = uncast(self.project, e).chunk(2, dim=1)
        sizes = list(self.widths.values())
        weights = {}
        for name, scale, shift in zip(
            self.widths, (1 + scales).split(sizes, dim=1), shifts.split(sizes, dim=1), strict=True
        ):
            weight = self.network.get_submodule(name).weight
            weights[weight] = ModulatedWeight(weight, scale, shift)
        return Replica(self.network, weights)(x, *args)


def _width(layer: nn.Module) -> int | None:
    """Output channels of a linear or convolutional layer."""
    if isinstance(layer, LAYERS):
        return layer.weight.shape[0]
    if isinstance(layer, TRANSPOSED):
        return layer.weight.shape[1] * layer.groups
    return None


class ModulatedWeight:
    """A weight in place of a parameter, with which a layer's output is scaled and shifted.

    Args:
        weight: of the layer.
        scale, shift: of each sample's channels or of all samples', (B, C) or (1, C).
    """

    def __init__(self, weight: Tensor, scale: Tensor, shift: Tensor) -> None:
        self.weight, self.scale, self.shift = weight, scale, shift

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Tensor:
        options = dict(zip(("input", "weight"), args, strict=False)) | (kwargs or {})
        x, weight = options.pop("input", None), options.pop("weight", None)
        if func not in CHANNEL or not isinstance(weight, cls):
            raise RuntimeError(
                f"FiLM cannot modulate {getattr(func, '__name__', func)}, only linear layers and "
                "convolutions"
            )
        y = func(x, weight.weight, *args[2:], **options)
        if len(weight.scale) not in (1, len(y)):
            raise RuntimeError(
                f"FiLM modulates samples, and {func.__name__} has {len(y)} rows for "
                f"{len(weight.scale)} samples"
            )
        channel = CHANNEL[func] % y.dim()
        shape = [-1 if dim in (0, channel) else 1 for dim in range(y.dim())]
        shape[0] = len(weight.scale)
        scale, shift = (v.reshape(shape).to(y.dtype) for v in (weight.scale, weight.shift))
        return torch.addcmul(shift, y, scale)

    def __getattr__(self, name: str) -> Any:
        if name not in DESCRIPTIONS:
            raise RuntimeError(f"FiLM cannot modulate Tensor.{name}")
        return getattr(self.weight, name)


CHANNEL = {F.linear: -1} | dict.fromkeys(
    (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), 1
)
"""The operations that use the weight of a layer, and the channel dimension of their output."""
