"""Tools that wrap, change, copy, train, transform or export an interpolated network."""

import copy
import io
import itertools
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import compatibility.reference as ref
import torch
import torch.distributed as dist
from compatibility.networks import X
from compatibility.reference import SIZE, STEPS, Case, Scalars, by_hand, loss
from compatibility.situations import wrapped
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from dpi.interpolation import interpolate


def network() -> nn.Sequential:
    parts = nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(2)
    return nn.Sequential(*parts, nn.Linear(64, 3))


# What makes another network, or calls it, with the values and gradients of the reference


def fresh() -> Any:
    return interpolate(network(), num_scalars=STEPS).double().eval()


def loaded(g: nn.Module, **how: Any) -> nn.Module:
    other, file = fresh(), io.BytesIO()
    other(X, torch.arange(SIZE))  # whose parameters it must not keep
    torch.save(g.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file), **how)
    return other


def from_meta(g: nn.Module) -> nn.Module:
    with torch.device("meta"):
        other = fresh()
    other.to_empty(device="cpu").load_state_dict(g.state_dict())
    return other


def quantized(net: nn.Module) -> nn.Module:
    library = resolve_name("torchao.quantization")
    library.quantize_(net.float(), library.Int8WeightOnlyConfig())
    return net


def lora(net: nn.Module, model: bool = False) -> nn.Module:
    peft = resolve_name("peft")
    config = peft.LoraConfig(r=2, target_modules=["4"])
    return peft.get_peft_model(net, config) if model else peft.inject_adapter_in_model(config, net)


def accelerate(g: nn.Module, *more: Any, **how: Any) -> Any:
    resolve_name("accelerate.state:AcceleratorState")._reset_state()
    return resolve_name("accelerate:Accelerator")(cpu=True, **how).prepare(g, *more)


def replaced(g: nn.Module) -> Callable:
    return lambda x, s: functional_call(g, {n: +p for n, p in g.named_parameters()}, (x, s))


def around(use_reentrant: bool) -> Callable:
    return lambda g: lambda x, s: checkpoint(g, x, s, use_reentrant=use_reentrant)


def averaged(make: Callable, update: Callable, of: Callable) -> Callable:
    """The network of an average over two steps."""

    def wrap(g: nn.Module) -> nn.Module:
        ema, phi = make(g), g.interpolation.phi.detach().clone()
        for step in (0.0, 0.1):
            for p in g.parameters():
                p.data.add_(step)
            update(ema, g)
        average = of(ema, g).requires_grad_(True)
        assert all(0.01 < moved < 0.09 for moved in average.interpolation.phi - phi)
        return average

    return wrap


def to_theta0(change: Callable[[nn.Module], Any]) -> Callable[[Any], Any]:
    return lambda g: (change(g.theta0), g)[1]


def tool(wrap: Callable = lambda g: g, refused: str = "", make: Callable = network, **more) -> Case:
    case = {k: more.pop(k) for k in ("dtype", "tolerance") if k in more}
    return Case(make, (X,), wrap=wrap, refused=refused, options=more, **case)


CHANGED, PARTS = "changed since `interpolate`", "cannot be interpolated: exclude="
HALF = {"dtype": torch.float32, "tolerance": 1e-1}
# fmt: off
TOOLS: dict[str, Any] = {
    "DataParallel without GPUs (calls the network)": tool(nn.DataParallel),
    "SyncBatchNorm.convert_sync_batchnorm(net), eval mode": tool(
        nn.SyncBatchNorm.convert_sync_batchnorm,
        make=lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
    "copy.deepcopy": tool(copy.deepcopy),
    "pickle": tool(lambda g: pickle.loads(pickle.dumps(g))),
    "torch.save(net.state_dict()), load_state_dict": tool(loaded),
    "load_state_dict(assign=True)": tool(partial(loaded, assign=True)),
    'torch.device("meta"), then to_empty and load_state_dict': tool(from_meta),
    "net.to(memory_format=torch.channels_last)": tool(
        lambda g: g.to(memory_format=torch.channels_last)),
    "torch.optim.swa_utils.AveragedModel": tool(averaged(
        torch.optim.swa_utils.AveragedModel,
        lambda ema, g: ema.update_parameters(g), lambda ema, g: ema.module)),
    "ema_pytorch.EMA": tool(averaged(
        lambda g: resolve_name("ema_pytorch:EMA")(g, beta=0.5, update_after_step=0),
        lambda ema, g: [ema.update() for _ in range(10)], lambda ema, g: ema.ema_model)),
    "timm.utils.ModelEmaV3": tool(averaged(
        lambda g: resolve_name("timm.utils:ModelEmaV3")(g, decay=0.5),
        lambda ema, g: ema.update(g), lambda ema, g: ema.module)),
    "diffusers EMAModel": tool(averaged(
        lambda g: resolve_name("diffusers.training_utils:EMAModel")(g.parameters(), decay=0.5),
        lambda ema, g: ema.step(g.parameters()),
        lambda ema, g: (ema.copy_to(g.parameters()), g)[1])),
    "torch.func.functional_call(net, parameters, (x, s))": tool(replaced),
    'accelerate: Accelerator(mixed_precision="bf16").prepare(net)': tool(
        partial(accelerate, mixed_precision="bf16"), **HALF),
    "accelerate: cpu_offload(net)": tool(
        lambda g: resolve_name("accelerate:cpu_offload")(g, torch.device("cpu")), "meta device"),
    "net.theta0.compile(): a set compiled by itself": tool(
        to_theta0(lambda net: net.compile(backend="eager"))),
    "torch.fx.symbolic_trace(net)": tool(torch.fx.symbolic_trace, "cannot be traced"),
    "torchao.quantization.quantize_(net)": tool(quantized, PARTS),
    "torchao.quantization.quantize_(network) before interpolate": tool(
        refused="is a Int8Tensor", make=lambda: quantized(network())),
    'torchao.quantization.quantize_(network), then peft LoRA, then include=["*lora*"]': tool(
        make=lambda: lora(quantized(network())), include=["*lora*"]),
    "peft LoRA before interpolate": tool(make=lambda: lora(network()).requires_grad_(True)),
    'peft LoRA before interpolate, include=["*lora*"]': tool(
        make=lambda: lora(network()).requires_grad_(True), include=["*lora*"]),
    "peft get_peft_model before interpolate": tool(
        make=lambda: lora(network(), True).requires_grad_(True)),
    "peft LoRA after interpolate": tool(lora, CHANGED),
    "parametrizations.weight_norm after interpolate": tool(
        to_theta0(lambda net: nn.utils.parametrizations.weight_norm(net[4])), CHANGED),
    "apply_activation_checkpointing(net) after interpolate": tool(
        lambda g: (wrapped(g), g)[1], CHANGED),
    "checkpoint(net, x, s, use_reentrant=False)": tool(around(False)),
    "checkpoint(net, x, s, use_reentrant=True)": tool(around(True)),
    'checkpoint(net, x, s), include=["0.*"]': tool(around(False), include=["0.*"]),
}
# fmt: on


class Subject:
    """An interpolated and perturbed network, its reference, and a batch for some scalars."""

    def __init__(self, s: Scalars, make: Callable = network, **options: Any):
        self.case = tool(make=make, **options)
        self.g, self.plain = self.case.interpolated(), self.case.plain()
        self.x = self.case.batch(s, self.case.dtype)[0][0]

    def check(self, ours: dict[str, Tensor], s: Scalars) -> None:
        with torch.set_grad_enabled(len(ours) > 1):
            ref.assert_same(ours, by_hand(self.case, self.g, s), self.case.tolerance)

    def hand(self, s: Any, named: Any = None) -> Callable[[Tensor], Tensor]:
        """The reference as a function that can be differentiated: one sample after another."""
        named = named or ref.leaves(self.g)
        each = s if isinstance(s, list) or (isinstance(s, Tensor) and s.dim()) else [s] * SIZE

        def run(x: Tensor) -> Tensor:
            pairs = zip(x.split(1), each, strict=True)
            twice = [(torch.cat([x_i, x_i]), ref.theta(named, s_i)) for x_i, s_i in pairs]
            return torch.cat([functional_call(self.plain, p, two)[:1] for two, p in twice])

        return run


def each(check: Callable, how: dict[str, Any]) -> None:
    """Tools that are checked in the same way, check(how[name], s)."""
    TOOLS.update({name: partial(check, value) for name, value in how.items()})


# Training: the parameters after two steps


def trained(how: tuple[Callable, Callable], s: Scalars) -> None:
    train, optimizer = how
    t = Subject(s)
    other, start = copy.deepcopy(t.g), copy.deepcopy(t.g.state_dict())
    train(t, torch.tensor(s), optimizer)
    step = optimizer(other.parameters())
    for _ in range(2):
        want = by_hand(t.case, other, s)
        for name, p in other.named_parameters():
            p.grad = want[f"gradient of {name}"]
        step.step()
    for name, p in t.g.named_parameters():
        torch.testing.assert_close(p, other.get_parameter(name), rtol=1e-6, atol=1e-9)
        assert not torch.equal(p, start[name]), f"{name} was not trained"


def in_loop(t: Subject, s: Tensor, optimizer: Callable, prepare: Callable = lambda *both: both):
    net, step = prepare(t.g, optimizer(t.g.parameters()))
    for _ in range(2):
        step.zero_grad()
        loss([net(t.x, s)]).backward()
        step.step()


def by_lightning(t: Subject, s: Tensor, optimizer: Callable) -> None:
    lightning = resolve_name("lightning")
    module = lightning.LightningModule()
    module.g, module.configure_optimizers = t.g, lambda: optimizer(t.g.parameters())
    module.training_step = lambda batch, batch_idx: loss([t.g(batch, s)])
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_steps=2, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(t.x.repeat(2, 1, 1, 1), len(t.x)))


SGD = partial(torch.optim.SGD, lr=1e-3)
ADAMW = partial(torch.optim.AdamW, lr=1e-3, eps=1e-4)
# fmt: off
each(trained, {
    "torch.optim.AdamW(fused=True)": (in_loop, partial(ADAMW, fused=True)),
    "accelerate: Accelerator().prepare(net, optimizer)":
        (partial(in_loop, prepare=accelerate), SGD),
    "Lightning: Trainer.fit": (by_lightning, SGD),
})
# fmt: on

# Derivatives


def floats(s: Scalars) -> Tensor:
    """Scalars within the segments between steps."""
    return (torch.tensor(s).double().clamp(max=STEPS - 2) + 0.3) / (STEPS - 1)


def by_x(take: Callable, s: Scalars) -> None:
    t = Subject(s)
    ours = take(lambda x: t.g(x, torch.tensor(s)), t.x)
    torch.testing.assert_close(ours, take(t.hand(s), t.x))


def by_s(take: Callable, s: Scalars) -> None:
    t = Subject(s)
    named = ref.leaves(t.g)
    ours = take(lambda s: loss([t.g(t.x, s)]), floats(s))
    torch.testing.assert_close(ours, take(lambda s: loss([t.hand(s, named)(t.x)]), floats(s)))


def by_sample(_: Any, s: Scalars) -> None:
    """Gradients of each sample."""
    t = Subject(s)
    parameters, named = {n: p.detach() for n, p in t.g.named_parameters()}, ref.leaves(t.g)
    each = floats(s).expand(len(t.x))

    def of_one(parameters: dict, x: Tensor, s: Tensor) -> Tensor:
        return loss([functional_call(t.g, parameters, (x[None], s))])

    ours = torch.vmap(torch.func.grad(of_one), (None, 0, 0))(parameters, t.x, each)
    for i in range(len(t.x)):
        value = loss([t.hand(each[i : i + 1], named)(t.x[i : i + 1])])
        wanted = torch.autograd.grad(value, list(named.values()))
        torch.testing.assert_close([got[i] for got in ours.values()], list(wanted))


def solved(how: dict, s: Scalars) -> None:
    """The adjoint method has the gradients of backpropagation through the solver."""
    library, gradients, scale = resolve_name("torchdiffeq"), [], floats(s)
    t = Subject(s, lambda: nn.Conv2d(3, 3, 3, padding=1), **how)
    run, times = nn.ModuleList([t.g]), torch.tensor([0.0, 1.0]).double()
    run.forward = lambda time, x: t.g(x, time * scale)
    for solve in (library.odeint, library.odeint_adjoint):
        t.g.zero_grad()
        loss([solve(run, t.x, times, method="rk4", options={"step_size": 0.1})[-1]]).backward()
        gradients.append([p.grad for p in t.g.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-2)


# fmt: off
each(by_x, {
    "torch.func.grad with respect to x":
        lambda run, x: torch.func.grad(lambda x: loss([run(x)]))(x),
    "torch.func.jvp with respect to x": lambda run, x: torch.func.jvp(run, (x,), (x.cos(),)),
    "torch.func.hessian with respect to scales of x's channels":
        lambda run, x: torch.func.hessian(lambda a: loss([run(a * x)]))(x[0, :, :1, :1].exp()),
    "torch.vmap over batches, with s given":
        lambda run, x: torch.vmap(run)(torch.stack([x, x.cos()])),
    "torch.autograd.functional.hvp (double backward)":
        lambda run, x: torch.autograd.functional.hvp(lambda x: loss([run(x)]), x, x.cos()),
    "torch.inference_mode()": lambda run, x: torch.inference_mode()(run)(x).clone(),
})
each(by_s, {
    "torch.func.jvp with respect to s": lambda run, s: torch.func.jvp(run, (s,), (1 + s,)),
    "torch.func.hessian with respect to s": lambda run, s: torch.func.hessian(run)(s),
    "torch.autograd.grad with respect to s":
        lambda run, s: torch.autograd.grad(run(leaf := s.clone().requires_grad_()), leaf)[0],
})
each(by_sample, {"torch.func.vmap(grad) of parameters: gradients of each sample": None})
each(solved, {
    "torchdiffeq.odeint_adjoint": {},
    'torchdiffeq.odeint_adjoint, include=["weight"]': {"include": ["weight"]},
})
# fmt: on

# Export, and the plain network for one scalar


def exported(export: Callable, s: Scalars) -> None:
    """What was exported with some scalars is right for others, grouped in another way."""
    t = Subject(s)
    with torch.no_grad():
        run = export(t.g, (t.x, torch.tensor(s)))
    for other in (s, 8) if isinstance(s, int) else (s, [1, 1, 1, 8, 5, 1][: len(s)]):
        t.check({"output 0": run(t.x, torch.tensor(other)).detach()}, other)


def by_onnx(net: nn.Module, *args: Tensor) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(net, args, f"{folder}/f.onnx", dynamo=True, verbose=False)
        session = resolve_name("onnxruntime:InferenceSession")(f"{folder}/f.onnx")
        names = [value.name for value in session.get_inputs()]
        values = zip(names, args, strict=True)
        return torch.from_numpy(session.run(None, {n: v.numpy() for n, v in values})[0])


def of_one(how: tuple[Callable, float], s: int) -> None:
    t = Subject(s, dtype=torch.float32, tolerance=how[1])
    t.check({"output 0": how[0](t.g.at(s), t.x).detach()}, s)


# fmt: off
each(exported, {
    "torch.compile(net, fullgraph=True)":
        lambda g, args: torch.compile(g, fullgraph=True, backend="eager"),
    "torch.export of net, with s as an input":
        lambda g, args: torch.export.export(g, args).module(),
    "torch.jit.trace of net, with s as an input":
        lambda g, args: torch.jit.trace(g, args, check_trace=False),
    "make_fx (torch.fx.experimental.proxy_tensor) of net, with s as an input":
        lambda g, args: resolve_name("torch.fx.experimental.proxy_tensor:make_fx")(g)(*args),
})
AT = {
    "torch.export of net.at(s)": (lambda f, x: torch.export.export(f, (x,)).module()(x), 1e-5),
    "torch.onnx.export of net.at(s)": (by_onnx, 1e-5),
    "torchao.quantization.quantize_(net.at(s))": (lambda f, x: quantized(f)(x), 5e-2),
}
each(of_one, AT)
# fmt: on

# Two processes, each with half of the samples


def shard(net: nn.Module, *parts: nn.Module) -> nn.Module:
    for part in (*parts, net):
        if next(part.parameters(), None) is not None:
            fully_shard(part, mesh=init_device_mesh("cpu", (2,)))
    return net


# fmt: off
WRAPPERS: dict[str, Callable[[Any], nn.Module]] = {
    "DistributedDataParallel, 2 processes": nn.parallel.DistributedDataParallel,
    "fully_shard(net) (FSDP2), 2 processes": shard,
    "fully_shard(layer) of every layer, then fully_shard(net)":
        lambda g: shard(g, *g.theta0, *g.theta1),
    "FullyShardedDataParallel(net, use_orig_params=True) (FSDP1)": lambda g:
        FullyShardedDataParallel(g, use_orig_params=True, device_id=torch.device("cpu")),
}
# fmt: on


def half(rank: int, s: Scalars, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """What one process sees; the gradients of both are averaged."""
    t = Subject(s)
    want, mine = by_hand(t.case, t.g, s), slice(*(k * len(t.x) // 2 for k in (rank, rank + 1)))
    net = wrap(t.g)
    y = net(t.x[mine], torch.tensor(s if isinstance(s, int) else s[mine]))
    loss([y], mine).backward()
    ours, want["output 0"] = {"output 0": y.detach()}, want["output 0"][mine]
    old = isinstance(net, FullyShardedDataParallel)
    with net.summon_full_params(net, with_grads=True) if old else nullcontext():
        for name, p in t.g.named_parameters():
            grad = p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
            ours[f"gradient of {name}"] = 2 * grad
    ref.assert_same(ours, want, 1e-7)


def process(rank: int, folder: str) -> None:
    """Check all of them, and write what is refused or wrong."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", world_size=2, rank=rank)
    results = {}
    for name, s in itertools.product(WRAPPERS, (ref.ONE, ref.PAIRS, ref.UNEQUAL)):
        try:
            results[f"{name} {s}"] = ref.attempt(partial(half, rank, s, WRAPPERS[name]))
        except Exception as error:
            results[f"{name} {s}"] = f"wrong: {error!r}"
    if rank == 0:
        (Path(folder) / "results.json").write_text(json.dumps(results))
    dist.barrier()
    os._exit(0)  # destroying the group waits for those that were refused


@cache
def in_two_processes() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(process, (folder,), nprocs=2)
        return json.loads((Path(folder) / "results.json").read_text())


def distributed(name: str, s: Scalars) -> str:
    message = in_two_processes()[f"{name} {s}"]
    assert not message.startswith("wrong"), message
    return message


each(distributed, {name: name for name in WRAPPERS})
REFUSED = {
    "FullyShardedDataParallel(net, use_orig_params=True) (FSDP1)": "from a closure or an object",
    "torch.jit.trace of net, with s as an input": "cannot be traced",
    "fully_shard(layer) of every layer, then fully_shard(net)": PARTS,
}
"""With what they are refused. All others are right, but for those that say it above."""
