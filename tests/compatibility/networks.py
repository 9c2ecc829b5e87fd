"""Networks with random weights, in the smallest configuration of each, and a batch of six."""

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from compatibility.reference import SIZE, Case
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils._pytree import tree_map

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(SIZE, *shape, generator=GENERATOR, dtype=torch.float64)


def integers(*shape: int) -> Tensor:
    return torch.randint(1, 20, shape, generator=GENERATOR)


X, SEQ, TOKENS = normal(3, 8, 8), normal(5, 8), integers(SIZE, 5)
MASK = torch.arange(5) < torch.tensor([[5], [3], [5], [4], [5], [5]])
TIMES = torch.tensor([900, 3, 400, 3, 7, 900])
INPUTS = {
    **{"IMAGE": X, "SEQUENCE": SEQ, "TOKENS": TOKENS, "MASK": MASK.long(), "TIMES": TIMES},
    **{f"IMAGE_{width}": normal(3, width, width) for width in (16, 32, 64)},
    **{"LATENT": normal(4, 8, 8), "PIXELS": normal(9, 4), "SIGNAL": normal(8, 16)},
    **{"VECTOR": normal(8), "CLASSES": integers(SIZE), "SIZES": integers(SIZE, 6)},
    **{"STEPS_FIRST": SEQ.transpose(0, 1), "BLOCK": X[:, :, :4].unflatten(2, (2, 2))},
    **{"IMAGE_IDS": integers(9, 3), "TEXT_IDS": integers(5, 3)},
}


def listed_in_yaml(section: str) -> dict[str, Case]:
    """The networks of networks.yaml. Their packages are not imported before."""

    def network(make: str, options: Any = None, config: Any = None) -> nn.Module:
        model = resolve_name(make)
        return model(model.config_class(**config)) if config else model(**options)

    found = {}
    text = (Path(__file__).parent / "networks.yaml").read_text()
    for name, row in yaml.safe_load(text)[section].items():
        case, prepare = row.pop("case"), row.pop("prepare", None)
        case = tree_map(lambda v: INPUTS.get(v, v) if isinstance(v, str) else v, case)
        if prepare:
            case |= {"training": True, "prepare": methodcaller(prepare)}
        case["args"] = tuple(case.get("args", ()))
        found[name] = Case(partial(network, **row), **case)
    return found


class Attention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)


class Recurrent(nn.LSTM):
    """Returns its state with the batch first."""

    def forward(self, x):
        y, (h, _) = super().forward(x)
        return y, h.transpose(0, 1)


class Spectral(nn.Linear):
    """A layer of a Fourier neural operator."""

    def forward(self, x):
        modes = torch.einsum("bkc,dc->bkd", torch.fft.rfft(x, dim=1), self.weight)
        return torch.fft.irfft(modes + self.bias, n=x.shape[1], dim=1)


class ComplexLinear(nn.Linear):
    def forward(self, x):
        return torch.view_as_real(super().forward(x.to(torch.complex128)))


class ByDictionary(nn.Bilinear):
    def forward(self, batch):
        return {"y": super().forward(batch["a"], batch["b"]), "other": (batch["a"].sum(2), 1)}


class Net(nn.Module):
    """Two layers and a gain, after `use(self, x, ...)`, with whatever `refer(self)` makes."""

    def __init__(self, use: Callable, refer: Callable | None = None):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.gain = nn.Parameter(torch.randn(8))
        self.use, self.checkpoints = use, None
        self.kept = refer(self) if refer else None

    def forward(self, x, *args):
        x = torch.tanh(self.use(self, x, *args))
        return self.b(torch.tanh(self.a(x))) * self.gain

    def before(self, module, args):
        return (self.b(args[0]),)


def case(use: Callable, refer: Any = None, *args: Any, kind: type = Net, **options: Any) -> Case:
    return Case(lambda: kind(use, refer), (options.pop("x", SEQ), *args), **options)


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def changed(change: Callable, **case: Any) -> Case:
    """A network with a change to its first layer."""

    def make() -> nn.Module:
        net = linear()
        change(net[0])
        return net

    return Case(make, (SEQ,), **case)


NO_COPY = {"refused": "support the deepcopy protocol"}
FORMER = {"dropout": 0.0, "batch_first": True}

# fmt: off
NETWORKS = listed_in_yaml("Networks") | {
    "MultiheadAttention, batch_first=True": Case(lambda: Attention(8, 2, batch_first=True), (SEQ,)),
    "TransformerEncoder, padding, in training mode": Case(lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, **FORMER), 2, enable_nested_tensor=False),
        (SEQ,), {"src_key_padding_mask": ~MASK}, training=True),
    'TransformerDecoder, shared=["tgt_mask"]': Case(
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, **FORMER), 1),
        (SEQ, normal(3, 8)), {"tgt_mask": torch.ones(5, 5).triu(1).bool()},
        {"shared": ["tgt_mask"]}),
    "LSTM, whose state has the batch first": Case(
        lambda: Recurrent(8, 4, num_layers=2, bidirectional=True, batch_first=True), (SEQ,)),
    "Embedding": Case(lambda: nn.Sequential(nn.Embedding(20, 8), nn.LayerNorm(8)), (TOKENS,)),
    "Autoencoder tied by F.linear(x, layer.weight.t())": case(
        lambda f, x: F.linear(f.a(x), f.a.weight.t())),
    "parametrizations.weight_norm": changed(parametrizations.weight_norm),
    "parametrizations.spectral_norm": changed(parametrizations.spectral_norm),
    "parametrizations.orthogonal": changed(parametrizations.orthogonal),
    "torch.nn.utils.spectral_norm (old)": changed(spectral_norm),
    "torch.nn.utils.weight_norm (old)": changed(weight_norm, **NO_COPY),
    "torch.nn.utils.prune": changed(
        lambda layer: prune.random_unstructured(layer, "weight", 0.5), **NO_COPY),
    "ParameterList": case(
        lambda f, x: x * f.kept[0], lambda f: nn.ParameterList([torch.randn(8)])),
    "ParameterDict": case(
        lambda f, x: x * f.kept["a"], lambda f: nn.ParameterDict({"a": torch.randn(8)})),
    "Complex parameters (Fourier neural operator)": Case(
        lambda: Spectral(8, 2, dtype=torch.complex128), (SEQ,)),
    "Linear with complex parameters": Case(
        lambda: ComplexLinear(8, 3, dtype=torch.complex128), (SEQ,)),
    "torch.jit.script": Case(lambda: torch.jit.script(linear()), refused="ScriptModule"),
    "torch.fx GraphModule": Case(lambda: torch.fx.symbolic_trace(linear()), (SEQ,)),
    "A part compiled by torch.compile(part)": Case(
        lambda: nn.Sequential(torch.compile(nn.Linear(8, 3), backend="eager")), (SEQ,)),
    "A dictionary as input and output": Case(
        lambda: ByDictionary(8, 8, 3), ({"a": SEQ, "b": SEQ.cos()},)),
    "Parameters used directly: a class token, a gain, a temperature": case(
        lambda f, x: torch.cat([f.gain.expand(len(x), 1, 8), x], 1) * f.gain[0].exp()),
    "A part run under torch.no_grad()": case(lambda f, x: torch.no_grad()(f.a)(x)),
}
# fmt: on
