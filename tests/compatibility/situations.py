"""What networks do with their parameters, by kind: state, references, batches, gradients."""

import dataclasses
import weakref
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from pkgutil import resolve_name
from threading import Lock
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from compatibility.networks import SEQ, TOKENS, Net, case, linear, listed_in_yaml
from compatibility.reference import SIZE, Case
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def kept(refer: Callable, use: Callable = lambda kept, x: kept(x), **options: Any) -> Case:
    """refer(f) is kept, and use(kept, x) is run before the layers."""
    return case(lambda f, x: use(f.kept, x), refer, **options)


# 1. State


def cached(where: Callable[[Net], dict], refer: Callable | None = None, **options: Any) -> Case:
    """Multiplies by a function of a parameter that it keeps in evaluation mode."""

    def use(f: Net, x: Tensor) -> Tensor:
        cache = where(f)
        if f.training or cache.get("w") is None:
            cache["w"] = f.gain.exp()
        return x * cache["w"]

    return case(use, refer, **options)


def made(make: Callable, run: Callable, refused: str = "makes a module or parameter") -> Case:
    def use(f: Net, x: Tensor) -> Tensor:
        f.kept = f.kept or make(f)
        return run(f.kept, x)

    return case(use, refused=refused)


def appended(f: Net, x: Tensor) -> Tensor:
    f.kept.append(f.gain.exp())
    return x * f.kept[0] + len(f.kept)


def with_sum(f: Net) -> None:
    f.register_buffer("total", torch.zeros(()))


def added(f: Net, x: Tensor) -> Tensor:
    f.total += x.detach().mean()
    return f.a(x)


def assigned(f: Net, x: Tensor) -> Tensor:
    f.total = f.total + x.detach().mean()
    return f.a(x)


def hooks_once(f: Net, x: Tensor) -> Tensor:
    f.kept = f.kept or f.a.register_forward_hook(lambda layer, args, y: y + 1)
    return f.a(x)


class Caching(Net):
    once = cached_property(lambda self: self.gain.exp())


COPIES = {"options": {"checkpointing": True}}
# fmt: off
STATE = listed_in_yaml("State") | {
    "A function of a parameter in a dictionary": cached(lambda f: f.kept, lambda f: {}),
    "... in an attribute": cached(vars),
    "... in an object": cached(lambda f: vars(f.kept), lambda f: SimpleNamespace()),
    "... in a subclass of dict": cached(lambda f: f.kept, lambda f: type("D", (dict,), {})()),
    "functools.cached_property": case(lambda f, x: x * f.once, kind=Caching),
    "A list that grows": case(appended, lambda f: []),
    "A list of functions built in the first forward pass": made(
        lambda f: [partial(torch.mul, f.gain.exp())], lambda kept, x: kept[0](x), refused=""),
    "A layer made in the first forward pass": made(
        lambda f: nn.Linear(8, 8).double(), lambda layer, x: layer(x)),
    "A list of layers made in the first forward pass": made(
        lambda f: [nn.Linear(8, 8).double()], lambda kept, x: kept[0](x)),
    "A parameter made in the first forward pass": made(
        lambda f: nn.Parameter(torch.ones(8)), lambda p, x: p * x),
    "A hook registered in the first forward pass": case(hooks_once),
    "A buffer that is written in place": case(added, with_sum),
    "A buffer that is assigned": case(assigned, with_sum),
    "A buffer that is assigned, checkpointing=True": case(assigned, with_sum, **COPIES),
}
# fmt: on

# 2. References

GLOBAL: list[Any] = []
Slots = dataclasses.make_dataclass("Slots", ["a"], slots=True)


def by_global_name(f: Net) -> None:
    GLOBAL[:] = [f.a]
    f.use = lambda f, x: GLOBAL[0](x)


def replaced(f: Net) -> Callable:
    forward = f.b.forward
    f.a.forward = torch.autocast("cpu", enabled=False)(lambda x: forward(x) + 1)
    return torch.tanh


def hook(layer: nn.Module, args: tuple, y: Tensor) -> Tensor:
    return y + args[0] @ layer.weight


def hooked(register: Callable) -> Case:
    return case(lambda f, x: x, lambda f: register(f) and None)


@torch.jit.script
def scripted(x: Tensor, p: Tensor) -> Tensor:
    return x * p


THETA0 = {"refused": "from a closure or an object|keeps a parameter, or a view"}
# fmt: off
REFERENCES = {
    "A global name of a layer": case(lambda f, x: f.a(x), prepare=by_global_name),
    "A list and a dictionary": kept(lambda f: [{"a": f.a}], lambda kept, x: kept[0]["a"](x)),
    "A dictionary keyed by layers": kept(
        lambda f: {f.a: 2}, lambda kept, x: next(iter(kept))(x) * 2),
    "A deque": kept(lambda f: deque([f.a]), lambda kept, x: kept[0](x)),
    "A frozenset": kept(lambda f: frozenset([f.a]), lambda kept, x: next(iter(kept))(x)),
    "A dataclass with slots": kept(lambda f: Slots(f.a), lambda kept, x: kept.a(x)),
    "An object": kept(lambda f: SimpleNamespace(a=f.a), lambda kept, x: kept.a(x)),
    "A weakref.ref": kept(lambda f: weakref.ref(f.a), lambda kept, x: kept()(x)),
    "functools.partial of a layer": kept(lambda f: partial(f.a)),
    "A closure with a layer": kept(lambda f: lambda x: f.a(x)),
    "A closure with a layer, checkpointing=True": kept(
        lambda f: lambda x, layer=f.a: layer(x), **COPIES, **THETA0),
    "A replaced layer.forward": kept(replaced),
    "A forward hook: a function": hooked(lambda f: f.a.register_forward_hook(hook)),
    "A forward hook: a closure with another layer": hooked(
        lambda f: f.a.register_forward_hook(lambda layer, args, y: f.b(y))),
    "A forward pre-hook: a method": hooked(lambda f: f.a.register_forward_pre_hook(f.before)),
    "self.parameters() in the forward pass": case(
        lambda f, x: x + sum(p.square().mean() for p in f.parameters())),
    "self.state_dict()": case(lambda f, x: x * f.state_dict()["a.bias"]),
    "layer.weight.data": case(lambda f, x: x @ f.a.weight.data),
    "An attribute without copies": kept(lambda f: Lock(), refused="cannot pickle"),
    "A list of parameters": kept(lambda f: [f.gain], lambda kept, x: x * kept[0], **THETA0),
    "A closure with a parameter": kept(lambda f: lambda x, p=f.gain: x * p, **THETA0),
    "functools.partial of a parameter": kept(lambda f: partial(torch.mul, other=f.gain), **THETA0),
    "An object with a parameter": kept(
        lambda f: SimpleNamespace(p=f.gain), lambda kept, x: x * kept.p, **THETA0),
    "A list of parameters, tolist()": kept(
        lambda f: [f.gain], lambda kept, x: x * sum(kept[0].tolist()), **THETA0),
    "A list of parameters, torch.jit.script": kept(
        lambda f: [f.gain], lambda kept, x: scripted(x, kept[0]), **THETA0),
    "A list of the data of parameters": kept(
        lambda f: [f.double().gain.data], lambda kept, x: x * kept[0], **THETA0),
}
# fmt: on

# 3. Batches


def in_order(f: Net, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Runs the samples in another order."""
    order = torch.randperm(len(x)) if lengths is None else lengths.argsort(descending=True)
    return f.a(x[order])[order.argsort()]


def routed(f: Net, x: Tensor) -> Tensor:
    """A mixture of experts: each sample is run by one of two."""
    y, first = torch.zeros_like(x), x[:, 0, 0] > 0
    for expert, mine in ((f.a, first), (f.b, ~first)):
        if mine.any():
            y[mine] = expert(x[mine])
    return y


def branched(f: Net, x: Tensor, how: Any) -> Tensor:
    return f.a(x) if (how > 0.5 if isinstance(how, float) else "left" in how) else f.b(x)


def by_sum(f: Net, x: Tensor) -> Tensor:
    x = 2 * x if torch.is_grad_enabled() else x.mul_(2)
    return f.a(x) if x.sum() > 0 else f.b(x)


def later(change: Callable, **options: Any) -> Case:
    make = lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 3))  # noqa: E731
    return Case(make, (SEQ,), after=change, **options)


# fmt: off
BATCHES = {
    "Samples sorted by length": case(in_order, None, torch.tensor([3, 2, 5, 4, 1, 6])),
    "Samples shuffled in training": case(in_order, training=True),
    "A mixture of experts": case(routed),
    "A batch of zeros": case(in_order, x=0 * SEQ),
    "A batch of equal rows": case(routed, x=SEQ[:1].expand(SIZE, -1, -1)),
    "A branch chosen by a float": case(branched, None, 0.9),
    "A branch chosen by the key of a dictionary": case(branched, None, {"right": SEQ}),
    "A branch chosen by the sum of the batch, which is changed in place": case(by_sum),
    "LayerScale": case(
        lambda f, x: x + f.kept * f.a(x), lambda f: nn.Parameter(1e-6 * torch.ones(8))),
    "dropout.p changed after interpolate": later(lambda f: setattr(f[1], "p", 0.0), training=True),
    "A forward hook added after interpolate": later(lambda f: f[0].register_forward_hook(hook)),
    "A layer replaced after interpolate": later(
        lambda f: f.__setitem__(0, nn.Linear(8, 8).double())),
}
# fmt: on

# 4. Gradients


class Product(torch.autograd.Function):
    """x * p, without a rule for vmap."""

    @staticmethod
    def forward(ctx, x, p):
        ctx.save_for_backward(x, p)
        return x * p

    @staticmethod
    def backward(ctx, grad):
        x, p = ctx.saved_tensors
        return grad * p, (grad * x).sum_to_size(p.shape)


class WithRule(Product):
    generate_vmap_rule = True
    forward = staticmethod(lambda x, p: x * p)
    setup_context = staticmethod(lambda ctx, inputs, output: ctx.save_for_backward(*inputs))


def force(f: Net, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x if x.requires_grad else x.clone().requires_grad_()
        return torch.autograd.grad(f.a(x).square().sum(), x, create_graph=True)[0]


def scaled(factor: Callable[[Net], Any]) -> Case:
    """A hook scales the gradient of an activation."""

    def use(f: Net, x: Tensor) -> Tensor:
        y = f.a(x)
        if y.requires_grad:
            y.register_hook(lambda grad: grad * factor(f))
        return y

    return case(use)


# fmt: off
GRADIENTS = listed_in_yaml("Gradients") | {
    "autograd.Function on a parameter": case(lambda f, x: Product.apply(x, f.gain)),
    "... with a rule for vmap": case(lambda f, x: WithRule.apply(x, f.gain)),
    "Embedding(padding_idx=...)": Case(
        lambda: nn.Embedding(20, 8, padding_idx=int(TOKENS[0, 0])), (TOKENS,)),
    "A force, by torch.autograd.grad": case(force),
    "A force, by torch.func.grad": case(
        lambda f, x: torch.func.grad(lambda x: f.a(x).square().sum())(x)),
    "A hook on the gradient of an activation": scaled(lambda f: 2),
    "A full backward hook": hooked(lambda f: f.a.register_full_backward_hook(
        lambda layer, of_inputs, of_outputs: (2 * of_inputs[0],))),
}
# fmt: on

# 5. Activation checkpointing


def checkpointed(run: Callable, **how: Any) -> Case:
    def use(f: Net, x: Tensor) -> Tensor:
        return checkpoint(partial(run, f), x, **how) if f.checkpoints else run(f, x)

    return case(use, prepare=lambda f: setattr(f, "checkpoints", True))


def layers(f: Net, x: Tensor) -> Tensor:
    return f.b(torch.tanh(f.a(x)))


def parameters(f: Net, x: Tensor) -> Tensor:
    return F.linear(x, f.a.weight) * f.gain


def wrapped(f: nn.Module) -> None:
    wrapper = resolve_name("torch.distributed.algorithms._checkpoint.checkpoint_wrapper")
    wrapper.apply_activation_checkpointing(f, check_fn=lambda m: isinstance(m, nn.Linear))


CHECKPOINTING = listed_in_yaml("Activation checkpointing") | {
    "checkpoint(use_reentrant=False)": checkpointed(layers, use_reentrant=False),
    "checkpoint(use_reentrant=True)": checkpointed(layers, use_reentrant=True),
    "checkpoint of a function of parameters": checkpointed(parameters, use_reentrant=False),
    "apply_activation_checkpointing": Case(linear, (SEQ,), prepare=wrapped),
}
CHECKPOINTING = {
    f"{name}{', checkpointing=True' if how is COPIES else ''}": dataclasses.replace(c, **how)
    for how in ({"refused": "activation checkpointing inside the network"}, COPIES)
    for name, c in CHECKPOINTING.items()
    if how is not COPIES or "reentrant=True" not in name  # PyTorch's own error
}
