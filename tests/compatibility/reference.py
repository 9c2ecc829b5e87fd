"""Equation (2) written out by hand, one sample at a time, and what is compared with it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

STEPS = 10
MANY = [9, 0, 4, 0]
ONE = 3


@dataclasses.dataclass
class Case:
    """A network and a batch of four samples.

    Args:
        net: the plain network.
        args, kwargs: its arguments for the batch. Without args, the scalar is passed as s=s.
        options: further arguments of `interpolate`.
        prepare: called with the network after the reference was copied from it.
        samples: the arguments for samples i ... j-1, if they are not the rows of all tensors that
            have four.
        out_dims: the dimension of each output that is the batch, if it is not the first.
        training: run in training mode.
        first: arguments of a batch that is run before, with the same scalars.
        in_place: compare values alone, with those of the network itself after its parameters were
            set in place. For networks that refer to parameters where `functional_call` does not
            replace them.
        tolerance: relative to the largest value of each tensor.
    """

    net: nn.Module
    args: tuple = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    prepare: Callable[[nn.Module], Any] = lambda net: None
    samples: Callable[[tuple, dict, int], tuple[tuple, dict]] | None = None
    out_dims: Sequence[int] | None = None
    training: bool = False
    first: tuple = ()
    in_place: bool = False
    tolerance: float = 1e-7


def rows(value: Any, i: int) -> Any:
    """Sample i of four, as a batch of one, of any structure of tensors."""
    return tree_map(lambda v: v[i : i + 1] if is_batch(v) else v, value)


def is_batch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.shape[:1] == (len(MANY),)


def tensors(output: Any) -> list[Tensor]:
    """The tensors of an output, also of a dataclass or of a cache."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        return [t for value in output.values() for t in tensors(value)]
    if isinstance(output, list | tuple):
        return [t for value in output for t in tensors(value)]
    if dataclasses.is_dataclass(output):
        return [t for f in dataclasses.fields(output) for t in tensors(getattr(output, f.name))]
    leaves = tree_flatten(output)[0]
    return [] if leaves == [output] else tensors(leaves)


@torch.no_grad()
def perturb(g: nn.Module) -> None:
    """Move both parameter sets and phi: at initialization theta0 = theta1 hides every fault."""
    generator = torch.Generator().manual_seed(1)

    def noise(p: Tensor, scale: float) -> Tensor:
        dtype = p.dtype if p.is_complex() else torch.float64
        return (scale * torch.randn(p.shape, generator=generator, dtype=dtype)).to(p.dtype)

    for theta, scale in ((g.theta0, 0.05), (g.theta1, 0.1)):
        for p in theta.parameters():
            if p.is_floating_point() or p.is_complex():
                p.add_(noise(p, scale))
    g.interpolation.phi.copy_(noise(g.interpolation.phi, 1.0))


def leaves(g: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """theta0, theta1 and phi as they are now, as leaves of their own."""

    def leaf(p: Tensor) -> Tensor:
        p = p.detach().clone()
        return p.requires_grad_(p.is_floating_point() or p.is_complex())

    theta0, theta1 = (
        {name: leaf(p) for name, p in theta.named_parameters()} for theta in (g.theta0, g.theta1)
    )
    return theta0, theta1, leaf(g.interpolation.phi)


def theta(theta0: dict, theta1: dict, phi: Tensor, s: int) -> dict[str, Tensor]:
    """Equation (2)."""
    lam = torch.softmax(phi, 0).cumsum(0)[s]
    doubled = {name: (1 - lam) * theta0[name] + lam * theta1[name] for name in theta1}
    return {**theta0, **doubled}


def differentiate(run: Callable[[], Any], parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values of run() and the gradients of their inner product with fixed noise."""
    for p in parameters.values():
        p.grad = None
    values = tensors(run())
    generator = torch.Generator().manual_seed(2)
    total = torch.zeros(())
    if not torch.is_grad_enabled():
        return {f"output {k}": value for k, value in enumerate(values)}
    for value in values:
        if value.requires_grad:
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            total = total + (value * noise.to(value.real.dtype)).abs().square().sum().sqrt()
            total = total + (value.real * noise.to(value.real.dtype)).sum()
    total.backward()
    found = {f"output {k}": value.detach() for k, value in enumerate(values)}
    for name, p in parameters.items():
        found[f"gradient of {name}"] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
    return found


def names_of(g: nn.Module) -> dict[str, Tensor]:
    """The parameters of an interpolated network, by the names that `expected` gives them."""
    return {
        **{f"theta0.{name}": p for name, p in g.theta0.named_parameters()},
        **{f"theta1.{name}": p for name, p in g.theta1.named_parameters()},
        "phi": g.interpolation.phi,
    }


def expected(
    case: Case, plain: nn.Module, g: nn.Module, s: int | Sequence[int]
) -> dict[str, Tensor]:
    """Values and gradients for one scalar or, one sample at a time, for four."""
    theta0, theta1, phi = leaves(g)
    parameters = {
        **{f"theta0.{name}": p for name, p in theta0.items()},
        **{f"theta1.{name}": p for name, p in theta1.items()},
        "phi": phi,
    }
    args, kwargs, inputs = with_leaves(case.args, case.kwargs)
    sample = case.samples or (lambda args, kwargs, i: (rows(args, i), rows(kwargs, i)))

    def run() -> list[Tensor]:
        if isinstance(s, int):
            return tensors(functional_call(plain, theta(theta0, theta1, phi, s), args, kwargs))
        alone = []
        for i, s_i in enumerate(s):
            some_args, some_kwargs = sample(args, kwargs, i)
            values = theta(theta0, theta1, phi, s_i)
            alone.append(tensors(functional_call(plain, values, some_args, some_kwargs)))
        together = zip(*alone, strict=True)
        dims = case.out_dims or [0] * len(alone[0])
        return [torch.cat(parts, dim) for parts, dim in zip(together, dims, strict=True)]

    return differentiate(run, parameters | inputs)


@torch.no_grad()
def in_place(case: Case, g: nn.Module, s: int | Sequence[int]) -> dict[str, Tensor]:
    """Values for one scalar or for four, from the network itself, whose parameters are set."""
    theta0, theta1, phi = leaves(g)
    outputs = []
    for i, s_i in enumerate([s] * 4 if isinstance(s, int) else s):
        for name, value in theta(theta0, theta1, phi, s_i).items():
            g.theta0.get_parameter(name).copy_(value)
        outputs.append(tensors(g.theta0(*rows(case.args, i), **rows(case.kwargs, i))))
    for name, value in theta0.items():
        g.theta0.get_parameter(name).copy_(value)
    values = [torch.cat(parts) for parts in zip(*outputs, strict=True)]
    return {f"output {k}": value for k, value in enumerate(values)}


def found(case: Case, g: nn.Module, s: int | Sequence[int]) -> dict[str, Tensor]:
    """Values and gradients of the interpolated network."""
    args, kwargs, inputs = with_leaves(case.args, case.kwargs)
    s = torch.tensor(s)

    def run() -> Any:
        return g(args[0], s, *args[1:], **kwargs) if args else g(s=s, **kwargs)

    return differentiate(run, names_of(g) | inputs)


def with_leaves(args: tuple, kwargs: dict) -> tuple[tuple, dict, dict[str, Tensor]]:
    """The arguments, in which floating-point tensors require gradients, and these tensors."""
    flat, spec = tree_flatten((args, kwargs))
    flat = [
        v.detach().clone().requires_grad_()
        if isinstance(v, Tensor) and v.is_floating_point()
        else v
        for v in flat
    ]
    args, kwargs = tree_unflatten(flat, spec)
    inputs = [v for v in flat if isinstance(v, Tensor) and v.requires_grad]
    return args, kwargs, {f"input {k}": v for k, v in enumerate(inputs)}


def assert_same(ours: dict[str, Tensor], alone: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to the tolerance, relative to the largest value of each tensor."""
    assert list(ours) == list(alone)
    gradients = [v for name, v in alone.items() if name.startswith("gradient") and v.numel()]
    largest = max((float(v.abs().max()) for v in gradients), default=0.0)
    for name, want in alone.items():
        got = ours[name]
        assert got.shape == want.shape, f"{name} has shape {tuple(got.shape)}"
        assert want.isfinite().all(), f"the expected {name} is not finite"
        if not want.numel():
            continue
        scale = float(want.abs().max())
        if name.startswith("gradient"):
            scale = max(scale, 1e-3 * largest)
        error = float((got.to(want.dtype) - want).abs().max())
        assert error <= tolerance * scale, f"{name} is off by {error:.1e} of {scale:.1e}"
    if "gradient of phi" in alone:
        assert alone["gradient of phi"].any(), "lambda has no influence: nothing is tested"
