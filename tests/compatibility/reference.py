"""Equation (2) written out by hand for each scalar, and what a network is compared with it."""

import dataclasses
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from dpi.interpolation import Interpolated, affine, interpolate

STEPS, SIZE, ONE = 10, 6, 3
PAIRS, UNEQUAL, DISTINCT = [9, 0, 4, 0, 9, 4], [9, 0, 4, 0], [9, 1, 4, 0]
Scalars = int | Sequence[int]
WAYS = {"POSITIONS": {"cpu": 0}, "MEMORY": float("inf")}, {"POSITIONS": {}}
"""Settings of dpi.interpolation.affine for either way in which its layers compute."""
NOTE = "; a batch of several scalars takes one call of the network for each"


def by_segments(phi: Tensor, sets: int, s: Any) -> list[Tensor]:
    """The weights of the sets at a step or a float in [0, 1]; of two, 1 - lambda and lambda."""
    table = torch.softmax(phi, 0).cumsum(0)
    where = torch.as_tensor(s, dtype=phi.dtype) * (1 if isinstance(s, int) else STEPS - 1)
    below = where.detach().long().clamp(max=STEPS - 2)
    path = (table[below] + (where - below) * (table[below + 1] - table[below])) * (sets - 1)
    k = min(int(path), sets - 2)
    return [k + 1 - path if j == k else (path - k) * (j == k + 1) for j in range(sets)]


@dataclasses.dataclass
class Case:
    """A network and a batch of six samples.

    Args:
        make: makes the plain network, the same one each time.
        args, kwargs: its arguments for the batch. Without args, the scalar is passed as s=s.
        options: further arguments of `interpolate`.
        prepare: called with the network that is interpolated, not with that of the reference.
        after: called with the network after it was interpolated, and with that of the reference.
        wrap: makes what is called from the interpolated network.
        weights: the weights of the parameter sets, by hand.
        dtype: of the interpolated network and its floating-point arguments.
        training: run in training mode.
        twice: in the reference, run a sample that is alone twice. On a CPU some gradients of a
            batch of one are wrong in PyTorch.
        refused: the pattern of the message with which it is refused; none if it must be right.
        tolerance: relative to the largest value of each tensor.
    """

    make: Callable[[], nn.Module]
    args: tuple = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    prepare: Callable[[Any], Any] = id
    after: Callable[[Any], Any] = id
    wrap: Callable[[Any], Any] = lambda g: g
    weights: Callable[[Any, int, Any], Sequence[Any]] = by_segments
    dtype: torch.dtype = torch.float64
    training: bool = False
    twice: bool = True
    refused: str = ""
    tolerance: float = 1e-7

    def given(self) -> nn.Module:
        torch.manual_seed(0)
        net = self.make()
        return net if any(map(is_lazy, net.parameters())) else net.double().train(self.training)

    def plain(self) -> nn.Module:
        net = self.given()
        self.after(net)
        return net

    def interpolated(self) -> Any:
        net = self.given()
        self.prepare(net)
        g = interpolate(net, **{"num_scalars": STEPS, **self.options}).train(self.training)
        self.after(g.theta0)
        return perturb(g)._apply(lambda t: t.to(self.dtype) if t.is_floating_point() else t)

    def batch(self, s: Scalars, dtype: torch.dtype | None = None) -> tuple[tuple, dict]:
        """The arguments for the first samples, one for each scalar."""
        some = (self.args, self.kwargs)
        some = some if isinstance(s, int) else rows(some, slice(len(s)))
        return tree_map(lambda v: v.to(dtype) if dtype and is_double(v) else v, some)


def is_double(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float64


@torch.no_grad()
def perturb(g: nn.Module) -> Any:
    """Move all parameters: at initialization theta0 = theta1 hides every fault."""
    generator = torch.Generator().manual_seed(1)
    for name, p in g.named_parameters():
        if type(p) is nn.Parameter and (p.is_floating_point() or p.is_complex()):
            dtype = torch.promote_types(p.dtype, torch.float64)
            noise = torch.randn(p.shape, generator=generator, dtype=dtype).to(p.dtype)
            p.add_(noise if name.endswith("phi") else 0.1 * noise)
    return g


def inside(net: nn.Module) -> Any:
    """The interpolated network in whatever is wrapped around it."""
    return next(module for module in net.modules() if isinstance(module, Interpolated))


def leaves(g: nn.Module) -> dict[str, Tensor]:
    """The parameters as they are now, as leaves of their own, in float64."""

    def leaf(p: Tensor) -> Tensor:
        p = p.detach().double() if p.is_floating_point() else p.detach()
        return p.clone().requires_grad_(p.is_floating_point() or p.is_complex())

    return {name: leaf(p) for name, p in g.named_parameters()}


def theta(named: dict[str, Tensor], s: Any, weights: Callable = by_segments) -> dict[str, Tensor]:
    """sum_k w_k theta_k, Equation (2) for two sets, of an interpolated network's parameters."""
    sets: dict[str, dict[str, Tensor]] = {}
    for name, p in named.items():
        sets.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = p
    w = weights(sets.pop("interpolation", {}).get("phi"), len(sets), s)
    pairs = list(zip(w, sets.values(), strict=True))
    return sets["theta0"] | {n: sum(w_k * t[n] for w_k, t in pairs) for n in sets["theta1"]}


def rows(value: Any, index: Any, size: int = SIZE) -> Any:
    """Some of the samples, of any structure of tensors."""

    def some(v: Any) -> Any:
        return v[index] if isinstance(v, Tensor) and v.shape[:1] == (size,) else v

    return tree_map(some, value)


def tensors(output: Any) -> list[Tensor]:
    output = list(output.values()) if isinstance(output, dict) else output
    if isinstance(output, list | tuple):
        return [tensor for value in output for tensor in tensors(value)]
    return [output] if isinstance(output, Tensor) else []


def loss(values: list[Tensor], index: Any = slice(None)) -> Tensor:
    """A sum over the samples `index` and over all elements, with fixed weights."""
    total = torch.zeros((), dtype=torch.float64)
    for k, value in enumerate(values):
        if value.is_floating_point() or value.is_complex():
            value = torch.view_as_real(value) if value.is_complex() else value.double()
            value = value[None] if value.dim() == 0 else value
            weights = torch.arange(SIZE * value[0].numel()).add(0.1 + k).cos()
            weights = weights.reshape(SIZE, *value.shape[1:])[index][: len(value)]
            total = total + (weights * value * (1 + value)).sum()
    return total


def by_hand(case: Case, g: Any, s: Scalars) -> dict[str, Tensor]:
    """Values and gradients of one scalar after another, each with a network of its own."""
    args, kwargs, inputs = with_leaves(*case.batch(s))
    each = [s] * SIZE if isinstance(s, int) else list(s)
    named, net, order, parts = leaves(g), case.plain(), [], []
    for value in dict.fromkeys(each):
        index = [i for i, other in enumerate(each) if other == value]
        before, net, parameters = net, case.plain(), theta(named, value, case.weights)
        with torch.no_grad():
            for old, new in zip(before.buffers(), net.buffers(), strict=False):
                new.copy_(old)
            for new, p in zip(net.parameters(), parameters.values(), strict=True):
                new.copy_(p)
        some = index * 2 if case.twice and len(index) == 1 else index
        is_all = len(index) == len(each)
        mine = (args, kwargs) if is_all else rows((args, kwargs), some, len(each))
        outputs = tensors(net(*mine[0], **mine[1]))
        order += index
        parts.append(outputs if is_all else [t[: len(index)] for t in outputs])
        if torch.is_grad_enabled():
            loss(parts[-1], index).backward()
            pairs = zip(parameters.values(), (p.grad for p in net.parameters()), strict=True)
            pairs = [(p, grad) for p, grad in pairs if grad is not None]
            torch.autograd.backward(*zip(*pairs, strict=True), retain_graph=True)
    columns, back = zip(*parts, strict=True), torch.tensor(order).argsort()
    values = parts[0] if len(parts) == 1 else [torch.cat(column)[back] for column in columns]
    return seen(values, named | inputs, net)


def found(g: Any, s: Any, args: tuple, kwargs: dict, run: Callable | None = None) -> dict:
    """Values and gradients of an interpolated network, or of run(x, s) around it."""
    args, kwargs, inputs = with_leaves(args, kwargs)
    parameters = dict(g.named_parameters()) | inputs
    for p in parameters.values():
        p.grad = None
    s, run = torch.as_tensor(s), g if run is None else run
    values = tensors(run(args[0], s, *args[1:], **kwargs) if args else run(s=s, **kwargs))
    if torch.is_grad_enabled():
        loss(values).backward()
    return seen(values, parameters, g.theta0)


def seen(values: list[Tensor], parameters: dict, net: nn.Module) -> dict[str, Tensor]:
    result = {f"output {k}": value.detach() for k, value in enumerate(values)}
    result |= {f"buffer {k}": b.detach().clone() for k, b in enumerate(net.buffers())}
    for name, p in parameters.items() if torch.is_grad_enabled() else ():
        grad = torch.zeros(p.shape, dtype=p.dtype) if p.grad is None else p.grad
        result[f"gradient of {name}"] = grad.to_dense() if grad.is_sparse else grad.clone()
    return result


def with_leaves(args: tuple, kwargs: dict) -> tuple[tuple, dict, dict[str, Tensor]]:
    """The arguments, in which floating-point tensors require gradients, and these tensors."""
    flat, spec = tree_flatten((args, kwargs))
    real = [isinstance(v, Tensor) and v.is_floating_point() for v in flat]
    flat = [v.clone().requires_grad_() if r else v for v, r in zip(flat, real, strict=True)]
    inputs = {f"input {k}": v for k, (v, r) in enumerate(zip(flat, real, strict=True)) if r}
    return *tree_unflatten(flat, spec), inputs


def assert_same(ours: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to the tolerance, relative to the largest value of each tensor."""
    outputs = [name for name in want if name.startswith("output")]
    assert outputs == [name for name in ours if name.startswith("output")]
    want = {name: want[name] for name in ours}
    gradients = [v for name, v in want.items() if name.startswith("gradient") and v.numel()]
    largest = max((float(v.abs().max()) for v in gradients), default=0.0)
    for name, right in want.items():
        assert ours[name].shape == right.shape, f"{name} has shape {tuple(ours[name].shape)}"
        assert right.isfinite().all(), f"the expected {name} is not finite"
        if right.numel():
            least = 1e-3 * largest if name.startswith("gradient") else 0.0
            scale = max(float(right.abs().max()), least)
            error = float((ours[name].to(right.dtype) - right).abs().max())
            assert error <= tolerance * scale, f"{name} is off by {error:.1e} of {scale:.1e}"
    phi = want.get("gradient of interpolation.phi")
    assert phi is None or phi.any(), "lambda has no influence: nothing is tested"


def attempt(run: Callable[[], Any]) -> str:
    """The message if run() is refused, which must be one clear line, or what it returns."""
    try:
        return run() or ""
    except (ValueError, RuntimeError, TypeError) as error:
        assert re.fullmatch(".{1,400}", str(error)), f"not one clear line: {error}"
        return str(error)


def result(one: Callable[[], Any], several: Callable[[], Any] | None) -> tuple[str, str]:
    """The result of one scalar for the batch and of several, and why these are run in turn."""
    refused = attempt(one)
    if refused or several is None:
        return ("refused" if refused else "right"), refused
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused = attempt(several)
    notes = [str(w.message).removesuffix(NOTE) for w in caught if NOTE in str(w.message)]
    return ("one scalar", refused) if refused else ("right", "".join(notes[:1]))


def check(case: Case) -> tuple[str, str]:
    """The result for a network, and a remark.

    Raises:
        Exception: something is wrong, or fails without a clear error.
    """
    made: list[Any] = []
    refused = attempt(lambda: made.append(case.interpolated()))
    if refused:
        return "refused", refused
    buffers, references = [b.clone() for b in made[0].theta0.buffers()], {}

    def compare(s: Scalars) -> None:
        if len(made) == 1:
            made.append(case.wrap(made[0]))
        run = made[1]
        g = inside(run) if isinstance(run, nn.Module) else made[0]
        for grad in (True, False):  # other operations may be reached
            with torch.set_grad_enabled(grad):
                ours = found(g, s, *case.batch(s, case.dtype), run)
                with torch.no_grad():
                    for b, before in zip(g.theta0.buffers(), buffers, strict=False):
                        b.copy_(before)
                if str(s) not in references:
                    references[str(s)] = by_hand(case, g, s)
                want = references[str(s)]
                if s not in (ONE, PAIRS):  # other orders, and variances of two equal samples
                    want = {k: ours[k] if k.startswith("buffer") else v for k, v in want.items()}
                assert_same(ours, want, case.tolerance)

    def several() -> None:
        for way in WAYS:
            with mock.patch.multiple(affine, **way):
                for s in (PAIRS, UNEQUAL, DISTINCT):
                    compare(s)
        made[0].mode = "grouped"
        compare(PAIRS)

    return result(lambda: compare(ONE), several)


def right(case: Case) -> tuple[str, str]:
    """check(case), if it is right, or refused with the message that it says."""
    outcome, remark = check(case)
    assert (outcome == "right") == (not case.refused), f"{outcome}: {remark}"
    assert not case.refused or re.search(case.refused, remark), f"{outcome}: {remark}"
    return outcome, remark
