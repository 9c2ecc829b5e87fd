"""Tools that wrap, change, copy or transform an interpolated network."""

import copy
import dataclasses
import io
import json
import pickle
import tempfile
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from compatibility.reference import (
    STEPS,
    Case,
    assert_same,
    differentiate,
    expected,
    found,
    leaves,
    names_of,
    perturb,
    theta,
)
from torch import Tensor, nn
from torch.func import functional_call

from dpi.interpolation import interpolate, parameter_groups

Scalars = int | list[int]
Tool = Callable[[Scalars], str | None]
TOOLS: dict[str, Tool] = {}
"""What checks a tool for one scalar or several, by the name in the table. It returns `last_run`."""
ONE_SCALAR: set[str] = set()
OTHER = [1, 1, 1, 8]
"""Scalars that are grouped in another way than MANY."""


def other(s: Scalars) -> Scalars:
    return 8 if isinstance(s, int) else OTHER


def tool(name: str, many: bool = True) -> Callable[[Tool], Tool]:
    """Register a check under the name of its row; many=False if it takes only one scalar."""

    def register(check: Tool) -> Tool:
        TOOLS[name] = check
        if not many:
            ONE_SCALAR.add(name)
        return check

    return register


def plain_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 2, 3, padding=1)
    )


def linear_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


@dataclasses.dataclass
class Subject:
    """A perturbed interpolated network, the plain one for the reference, and a batch."""

    g: Any
    plain: nn.Module
    case: Case

    @property
    def x(self) -> Tensor:
        return self.case.args[0]

    def want(self, s: Scalars) -> dict[str, Tensor]:
        return expected(self.case, self.plain, self.g, s)

    def value(self, s: Scalars) -> Tensor:
        return self.want(s)["output 0"]

    def check(self, s: Scalars, run: Callable[[Tensor, Tensor], Any], tolerance: float = 1e-7):
        """run(x, s) has the values and gradients of the reference."""
        x = self.x.detach().clone().requires_grad_()
        parameters = names_of(self.g) | {"input 0": x}
        ours = differentiate(lambda: run(x, torch.tensor(s)), parameters)
        assert_same(ours, self.want(s), tolerance)
        return self.g.last_run

    def check_value(self, s: Scalars, value: Tensor, tolerance: float = 1e-7) -> str:
        close(value, self.value(s), tolerance)
        return self.g.last_run


def subject(
    make: Callable[[], nn.Module] = plain_network,
    dtype: torch.dtype = torch.float64,
    prepare: Callable[[nn.Module], Any] = lambda net: None,
    training: bool = False,
    **options: Any,
) -> Subject:
    torch.manual_seed(0)
    net = make().to(dtype).train(training)
    plain = copy.deepcopy(net)
    prepare(net)
    g = interpolate(net, num_scalars=STEPS, **options).to(dtype).train(training)
    perturb(g)
    x = torch.randn(4, 2, 8, 8, dtype=dtype) if make is plain_network else None
    x = torch.randn(4, 5, 8, dtype=dtype) if x is None else x
    return Subject(g, plain, Case(net, (x,)))


def close(value: Tensor, want: Tensor, tolerance: float) -> None:
    assert value.shape == want.shape
    error = float((value.detach().to(want.dtype) - want).abs().max())
    assert error <= tolerance * float(want.abs().max()), f"the output is off by {error:.1e}"


def trained(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def assert_trained_alike(ours: dict[str, Tensor], by_hand: dict[str, Tensor], start: dict) -> None:
    for name, want in by_hand.items():
        torch.testing.assert_close(ours[name], want, rtol=1e-6, atol=1e-9)
        assert not torch.equal(want, start[name]), f"{name} was not trained"


def train_by_hand(t: Subject, s: Scalars, optimizer: Callable[..., Any], steps: int) -> dict:
    """Parameters after some steps, with gradients of Equation (2) written out by hand."""
    theta0, theta1, phi = leaves(t.g)
    named = {
        **{f"theta0.{name}": p for name, p in theta0.items()},
        **{f"theta1.{name}": p for name, p in theta1.items()},
        "interpolation.phi": phi,
    }
    step = optimizer(list(named.values()))
    for _ in range(steps):
        outputs = [
            functional_call(t.plain, theta(theta0, theta1, phi, s_i), t.x[i : i + 1])
            for i, s_i in enumerate([s] * 4 if isinstance(s, int) else s)
        ]
        step.zero_grad()
        torch.cat(outputs).square().mean().backward()
        step.step()
    return {name: p.detach() for name, p in named.items()}


# Several processes


@cache
def in_two_processes() -> dict[str, str]:
    """The results of processes.py, all of them from one start of two processes."""
    import torch.multiprocessing as mp
    from compatibility import processes

    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(processes.main, (folder,), nprocs=2)
        return json.loads((Path(folder) / "results.json").read_text())


def distributed(name: str, key: str) -> None:
    def check(s: Scalars) -> str | None:
        how, text = in_two_processes()[f"{key} {'one' if isinstance(s, int) else 'many'}"]
        if how == "wrong":
            raise AssertionError(text)
        return Refused(text) if how == "refused" else text

    TOOLS[name] = check


class Refused(str):
    """The message of a refusal in another process."""


distributed("DistributedDataParallel, 2 processes", "ddp")
distributed("fully_shard(net) (FSDP2), 2 processes", "whole")
distributed("fully_shard(layer) of every layer, then fully_shard(net)", "layers")
distributed("fully_shard(net.theta0), fully_shard(net.theta1), fully_shard(net)", "sets")
distributed("FullyShardedDataParallel(net, use_orig_params=True) (FSDP1)", "fsdp1")


@tool("DataParallel without GPUs (calls the network)")
def _(s: Scalars) -> str | None:
    t = subject()
    return t.check(s, nn.DataParallel(t.g))


@tool("SyncBatchNorm.convert_sync_batchnorm(net), eval mode")
def _(s: Scalars) -> str | None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))

    t = subject(make)
    t.case.args = (torch.randn(4, 2, 8, 8, dtype=torch.float64),)
    t.g = nn.SyncBatchNorm.convert_sync_batchnorm(t.g)
    return t.check(s, t.g)


# Training


def train_in_loop(t: Subject, s: Scalars, optimizer: Any, steps: int = 2) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        t.g(t.x, torch.tensor(s)).square().mean().backward()
        optimizer.step()


def optimized(s: Scalars, make: Callable[..., Any]) -> str | None:
    t = subject()
    start, by_hand = trained(t.g), train_by_hand(t, s, make, 2)
    train_in_loop(t, s, make(t.g.parameters()))
    assert_trained_alike(trained(t.g), by_hand, start)
    return t.g.last_run


@tool("torch.optim.AdamW(fused=True)")
def _(s: Scalars) -> str | None:
    return optimized(s, partial(torch.optim.AdamW, lr=1e-3, fused=True, eps=1e-4))


@tool("torch.optim.AdamW(foreach=True)")
def _(s: Scalars) -> str | None:
    return optimized(s, partial(torch.optim.AdamW, lr=1e-3, foreach=True, eps=1e-4))


@tool("torch.optim.LBFGS")
def _(s: Scalars) -> str | None:
    t = subject()
    optimizer = torch.optim.LBFGS(t.g.parameters(), lr=0.1, max_iter=2)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = t.g(t.x, torch.tensor(s)).square().mean()
        value.backward()
        return value

    before = optimizer.step(loss)
    assert loss() < before
    return t.check(s, t.g)


@tool("Lightning: Trainer.fit with EMAWeightAveraging")
def _(s: Scalars) -> str | None:
    import lightning
    from lightning.pytorch.callbacks import EMAWeightAveraging

    t = subject()
    optimizer = partial(torch.optim.SGD, lr=0.1)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.g = t.g

        def training_step(self, batch: Tensor, index: int) -> Tensor:
            return self.g(batch, torch.tensor(s)).square().mean()

        def configure_optimizers(self) -> Any:
            return optimizer(self.parameters())

    one_step, two_steps = (train_by_hand(t, s, optimizer, steps) for steps in (1, 2))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    ema = EMAWeightAveraging(decay=0.5)
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", callbacks=[ema], enable_checkpointing=False, **quiet
    )
    start, module = trained(t.g), Module()
    batches = torch.utils.data.DataLoader(t.x.repeat(2, 1, 1, 1), batch_size=4)
    trainer.fit(module, batches)
    # The averages are copied to the network at the end of training.
    want = {name: 0.5 * one_step[name] + 0.5 * two_steps[name] for name in start}
    assert_trained_alike(trained(t.g), want, start)
    return t.g.last_run


def averaged(s: Scalars, wrap: Callable[[nn.Module], Any], update: Callable[[Any, Any], None]):
    """An average of two states is the reference with averaged parameters."""
    t = subject()
    ema = wrap(t.g)
    update(ema, t.g)
    with torch.no_grad():
        for p in t.g.parameters():
            p.add_(0.1 * torch.randn_like(p))
    update(ema, t.g)
    return t, ema


@tool("torch.optim.swa_utils.AveragedModel")
def _(s: Scalars) -> str | None:
    from torch.optim.swa_utils import AveragedModel

    t, ema = averaged(s, AveragedModel, lambda ema, g: ema.update_parameters(g))
    t.g = ema.module
    return t.check_value(s, ema(t.x, torch.tensor(s)))


@tool("ema_pytorch.EMA")
def _(s: Scalars) -> str | None:
    from ema_pytorch import EMA

    wrap = partial(EMA, beta=0.5, update_after_step=0, update_every=1)
    t, ema = averaged(s, wrap, lambda ema, g: ema.update())
    assert not torch.equal(ema.ema_model.interpolation.phi, t.g.interpolation.phi)
    t.g = ema.ema_model
    return t.check_value(s, ema(t.x, torch.tensor(s)))


@tool("timm.utils.ModelEmaV3")
def _(s: Scalars) -> str | None:
    from timm.utils import ModelEmaV3

    t, ema = averaged(s, partial(ModelEmaV3, decay=0.5), lambda ema, g: ema.update(g))
    t.g = ema.module
    return t.check_value(s, ema(t.x, torch.tensor(s)))


@tool("diffusers EMAModel")
def _(s: Scalars) -> str | None:
    from diffusers.training_utils import EMAModel

    t, ema = averaged(
        s, lambda g: EMAModel(g.parameters(), decay=0.5), lambda ema, g: ema.step(g.parameters())
    )
    current = trained(t.g)
    ema.copy_to(t.g.parameters())
    assert not torch.equal(current["theta1.0.weight"], t.g.theta1[0].weight)
    return t.check(s, t.g)


@tool("accelerate: Accelerator().prepare(net, optimizer)")
def _(s: Scalars) -> str | None:
    from accelerate import Accelerator

    t = subject()
    accelerator = Accelerator(cpu=True)
    make = partial(torch.optim.SGD, lr=0.1)
    start, by_hand = trained(t.g), train_by_hand(t, s, make, 2)
    net, optimizer = accelerator.prepare(t.g, make(t.g.parameters()))
    for _ in range(2):
        optimizer.zero_grad()
        accelerator.backward(net(t.x, torch.tensor(s)).square().mean())
        optimizer.step()
    assert_trained_alike(trained(t.g), by_hand, start)
    return t.g.last_run


@tool('accelerate: Accelerator(mixed_precision="bf16").prepare(net)')
def _(s: Scalars) -> str | None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    t = subject(dtype=torch.float32)
    AcceleratorState._reset_state()
    try:
        net = Accelerator(cpu=True, mixed_precision="bf16").prepare(t.g)
        return t.check(s, net, 4e-2)
    finally:
        AcceleratorState._reset_state()


@tool("accelerate: Accelerator().prepare(network) before interpolate")
def _(s: Scalars) -> str | None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    def prepare(net: nn.Module) -> None:
        Accelerator(cpu=True, mixed_precision="bf16").prepare(net)

    AcceleratorState._reset_state()
    try:
        t = subject(dtype=torch.float32, prepare=prepare)
        return t.check(s, t.g, 4e-2)
    finally:
        AcceleratorState._reset_state()


def with_accelerate_hook(s: Scalars, before: bool) -> str | None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    class Double(ModelHook):
        def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return tuple(2 * arg for arg in args), kwargs

    def add(net: nn.Module) -> None:
        add_hook_to_module(net[3], Double())

    t = subject(prepare=add if before else lambda net: None)
    if not before:
        add(t.g.theta0)
    t.plain[3].register_forward_pre_hook(lambda module, args: tuple(2 * arg for arg in args))
    return t.check(s, t.g)


@tool("accelerate: add_hook_to_module(layer) before interpolate")
def _(s: Scalars) -> str | None:
    return with_accelerate_hook(s, True)


@tool("accelerate: add_hook_to_module(layer of net.theta0) after interpolate")
def _(s: Scalars) -> str | None:
    return with_accelerate_hook(s, False)


@tool("accelerate: cpu_offload(net)")
def _(s: Scalars) -> str | None:
    from accelerate import cpu_offload

    t = subject()
    want = t.value(s)
    cpu_offload(t.g, torch.device("cpu"))
    with torch.no_grad():
        close(t.g(t.x, torch.tensor(s)), want, 1e-7)
    return t.g.last_run


# Precision


@tool("torch.autocast, bfloat16")
def _(s: Scalars) -> str | None:
    t = subject(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        return t.check(s, t.g, 4e-2)


class AutocastInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.layer(x).float()


@tool("torch.autocast, bfloat16, inside a network whose output is float32")
def _(s: Scalars) -> str | None:
    t = subject(AutocastInside, torch.float32)
    return t.check(s, t.g, 4e-2)


def converted(s: Scalars, dtype: torch.dtype, tolerance: float) -> str | None:
    t = subject(dtype=torch.float64)
    want = t.value(s)
    t.g.to(dtype)
    y = t.g(t.x.to(dtype), torch.tensor(s))
    assert y.dtype == dtype
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in t.g.parameters())
    close(y.double(), want, tolerance)
    return t.g.last_run


@tool("net.bfloat16()")
def _(s: Scalars) -> str | None:
    return converted(s, torch.bfloat16, 5e-2)


@tool("net.half()")
def _(s: Scalars) -> str | None:
    return converted(s, torch.float16, 1e-2)


@tool("net.double()")
def _(s: Scalars) -> str | None:
    return converted(s, torch.float64, 1e-7)


@tool("net.to(memory_format=torch.channels_last)")
def _(s: Scalars) -> str | None:
    t = subject()
    t.g.to(memory_format=torch.channels_last)
    return t.check(s, t.g)


# Compilation and export


@tool('torch.compile(net, fullgraph=True, backend="eager")')
def _(s: Scalars) -> str | None:
    t = subject()
    compiled = torch.compile(t.g, fullgraph=True, backend="eager")
    t.check(s, compiled)
    t.check(other(s), compiled)
    return None


@tool("torch.compile(net, fullgraph=True), with inductor, torch.no_grad()")
def _(s: Scalars) -> str | None:
    t = subject(lambda: nn.Sequential(nn.Linear(8, 3)))
    compiled = torch.compile(t.g, fullgraph=True)
    for each in (s, other(s)):
        with torch.no_grad():
            y = compiled(t.x, torch.tensor(each))
        t.check_value(each, y)
    return None


@tool('net.compile(fullgraph=True, backend="eager")')
def _(s: Scalars) -> str | None:
    t = subject()
    t.g.compile(fullgraph=True, backend="eager")
    t.check(s, t.g)
    t.check(other(s), t.g)
    return None


@tool('net.theta0.compile(backend="eager"): a set compiled by itself')
def _(s: Scalars) -> str | None:
    t = subject()
    t.g.theta0.compile(backend="eager")
    return t.check(s, t.g)


@tool("torch.export of net, with s as an input")
def _(s: Scalars) -> str | None:
    t = subject()
    exported = torch.export.export(t.g, (t.x, torch.tensor(s))).module()
    for each in (s, other(s)):
        t.check_value(each, exported(t.x, torch.tensor(each)))
    return None


def traced(s: Scalars, trace: Callable[..., Callable]) -> None:
    """What was traced with some scalars is right for others, which are grouped in another way."""
    t = subject()
    s = s if isinstance(s, int) else [9, 0, 9, 0]
    with torch.no_grad():
        run = trace(t.g, t.x, torch.tensor(s))
    for each in (s, other(s)):
        t.check_value(each, run(t.x, torch.tensor(each)))


@tool("torch.jit.trace of net, with s as an input")
def _(s: Scalars) -> str | None:
    return traced(s, lambda g, *args: torch.jit.trace(g, args, check_trace=False))


@tool("make_fx (torch.fx.experimental.proxy_tensor) of net, with s as an input")
def _(s: Scalars) -> str | None:
    from torch.fx.experimental.proxy_tensor import make_fx

    return traced(s, lambda g, *args: make_fx(g)(*args))


@tool("torch.fx.symbolic_trace(net)")
def _(s: Scalars) -> str | None:
    t = subject()
    return t.check(s, torch.fx.symbolic_trace(t.g))


def of_one_scalar(s: Scalars, run: Callable[[nn.Module, Tensor], Tensor]) -> str | None:
    t = subject(dtype=torch.float32)
    return t.check_value(s, run(t.g.at(torch.tensor(s)), t.x), 1e-5) and None


@tool("torch.export of net.at(s)", many=False)
def _(s: Scalars) -> str | None:
    return of_one_scalar(s, lambda f, x: torch.export.export(f, (x,)).module()(x))


@tool("torch.onnx.export of net.at(s)", many=False)
def _(s: Scalars) -> str | None:
    import onnxruntime

    def run(f: nn.Module, x: Tensor) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "f.onnx")
            torch.onnx.export(f, (x,), path, dynamo=True, verbose=False)
            session = onnxruntime.InferenceSession(path)
            (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            return torch.from_numpy(y)

    return of_one_scalar(s, run)


@tool("torch.jit.trace of net.at(s)", many=False)
def _(s: Scalars) -> str | None:
    return of_one_scalar(s, lambda f, x: torch.jit.trace(f, (x,))(x))


# Changes to the structure


@tool("torch.ao.quantization.quantize_dynamic(net)")
def _(s: Scalars) -> str | None:
    t = subject(linear_network, torch.float32)
    t.g = torch.ao.quantization.quantize_dynamic(t.g, {nn.Linear}, torch.qint8)
    return t.check_value(s, t.g(t.x, torch.tensor(s)), 2e-2)


@tool("torch.ao.quantization.quantize_dynamic(net.at(s))", many=False)
def _(s: Scalars) -> str | None:
    def run(f: nn.Module, x: Tensor) -> Tensor:
        return torch.ao.quantization.quantize_dynamic(f, {nn.Linear}, torch.qint8)(x)

    t = subject(linear_network, torch.float32)
    return t.check_value(s, run(t.g.at(torch.tensor(s)), t.x), 5e-2) and None


def torchao_quantize(net: nn.Module) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(net, Int8WeightOnlyConfig())


@tool("torchao.quantization.quantize_(net)")
def _(s: Scalars) -> str | None:
    t = subject(linear_network, torch.float32)
    want = t.value(s)
    torchao_quantize(t.g)
    with torch.no_grad():
        close(t.g(t.x, torch.tensor(s)), want, 5e-2)
    return t.g.last_run


@tool("torchao.quantization.quantize_(network) before interpolate")
def _(s: Scalars) -> str | None:
    net = linear_network()
    torchao_quantize(net)
    plain = copy.deepcopy(net)
    g, x = interpolate(net, num_scalars=STEPS), torch.randn(4, 5, 8)
    with torch.no_grad():
        close(g(x, torch.tensor(s)), plain(x), 1e-5)
    return g.last_run


@tool('torchao.quantization.quantize_(network), then peft LoRA, then include=["*lora*"]')
def _(s: Scalars) -> str | None:
    def quantized() -> nn.Module:
        net = linear_network()
        torchao_quantize(net)
        return lora(net)

    torch.manual_seed(0)
    net = quantized().eval()
    plain = copy.deepcopy(net)
    g = interpolate(net, num_scalars=STEPS, include=["*lora*"]).eval()
    with torch.no_grad():
        for name, p in g.named_parameters():
            if "lora" in name:
                p.add_(0.1 * torch.randn_like(p))
        g.interpolation.phi.normal_()
    t = Subject(g, plain, Case(net, (torch.randn(4, 5, 8),)))
    y = g(t.x, torch.tensor(s))
    y.square().sum().backward()
    assert all(p.grad is not None for name, p in g.named_parameters() if "lora" in name)
    lam = torch.softmax(g.interpolation.phi.detach(), 0).cumsum(0)
    outputs = []
    for i, s_i in enumerate([s] * 4 if isinstance(s, int) else s):
        with torch.no_grad():
            for name, p in plain.named_parameters():
                if "lora" in name:
                    theta0, theta1 = (part.get_parameter(name) for part in g.sets())
                    p.copy_((1 - lam[s_i]) * theta0 + lam[s_i] * theta1)
            outputs.append(plain(t.x[i : i + 1]))
    close(y, torch.cat(outputs), 1e-5)
    return g.last_run


@tool("torchao.quantization.quantize_(net.at(s))", many=False)
def _(s: Scalars) -> str | None:
    def run(f: nn.Module, x: Tensor) -> Tensor:
        torchao_quantize(f)
        return f(x)

    t = subject(linear_network, torch.float32)
    return t.check_value(s, run(t.g.at(torch.tensor(s)), t.x), 5e-2) and None


def lora(net: nn.Module) -> nn.Module:
    from peft import LoraConfig, inject_adapter_in_model

    return inject_adapter_in_model(LoraConfig(r=2, target_modules=["0", "2"]), net)


def check_lora(s: Scalars, **options: Any) -> str | None:
    t = subject(lambda: lora(linear_network()), **options)
    t.case.args = (torch.randn(4, 5, 8, dtype=torch.float64),)
    adapters = [name for name, p in t.g.named_parameters() if "lora" in name]
    trainable = [name for name, p in t.g.named_parameters() if p.requires_grad]
    assert trainable == [*adapters, "interpolation.phi"]
    want = t.want(s)
    t.g(t.x, torch.tensor(s)).square().sum().backward()
    for name, p in t.g.named_parameters():
        assert (p.grad is not None) == (name in trainable), name
    t.g.zero_grad()
    for p in t.g.parameters():
        p.requires_grad_()
    ours = found(t.case, t.g, s)
    assert_same(ours, want, 1e-7)
    return t.g.last_run


@tool('peft LoRA before interpolate; adapters chosen by "lora" in name')
def _(s: Scalars) -> str | None:
    return check_lora(s)


@tool('peft LoRA before interpolate, include=["*lora*"]')
def _(s: Scalars) -> str | None:
    return check_lora(s, include=["*lora*"])


@tool("peft get_peft_model before interpolate")
def _(s: Scalars) -> str | None:
    from peft import LoraConfig, get_peft_model

    def make() -> nn.Module:
        return get_peft_model(linear_network(), LoraConfig(r=2, target_modules=["0", "2"]))

    t = subject(make)
    for p in t.g.parameters():
        p.requires_grad_()
    return t.check(s, t.g)


@tool("peft LoRA after interpolate")
def _(s: Scalars) -> str | None:
    t = subject(linear_network)
    return t.check(s, lora(t.g))


@tool("peft LoRA on net.at(s)", many=False)
def _(s: Scalars) -> str | None:
    t = subject(linear_network)
    f = lora(t.g.at(torch.tensor(s)))
    return t.check_value(s, f(t.x)) and None


@tool("parametrizations.weight_norm(layer of net.theta0) after interpolate")
def _(s: Scalars) -> str | None:
    t = subject()
    nn.utils.parametrizations.weight_norm(t.g.theta0[0])
    return t.check(s, t.g)


@tool("parametrizations.weight_norm in both sets after interpolate")
def _(s: Scalars) -> str | None:
    t = subject()
    for part in t.g.sets():
        nn.utils.parametrizations.weight_norm(part[0])
    return t.check(s, t.g)


@tool("A layer of net.theta0 replaced by one with the same parameters' names")
def _(s: Scalars) -> str | None:
    t = subject()
    t.g.theta0[3] = nn.Conv2d(4, 2, 3, padding=1, dtype=torch.float64)
    return t.check(s, t.g)


@tool("net.requires_grad_(False) but phi")
def _(s: Scalars) -> str | None:
    t = subject()
    want = t.want(s)
    t.g.requires_grad_(False)
    t.g.interpolation.phi.requires_grad_()
    ours = differentiate(lambda: t.g(t.x, torch.tensor(s)), {"phi": t.g.interpolation.phi})
    assert_same(ours, {k: want[k] for k in ours}, 1e-7)
    return t.g.last_run


# torch.func and automatic differentiation


@tool("torch.func.functional_call(net, parameters, (x, s))")
def _(s: Scalars) -> str | None:
    t = subject()
    other = {name: 1.1 * p.detach() for name, p in t.g.named_parameters()}
    y = functional_call(t.g, other, (t.x, torch.tensor(s)))
    with torch.no_grad():
        for name, p in t.g.named_parameters():
            p.copy_(other[name])
    return t.check_value(s, y)


@tool("torch.func.grad with respect to x")
def _(s: Scalars) -> str | None:
    t = subject()
    got = torch.func.grad(lambda x: t.g(x, torch.tensor(s)).square().sum())(t.x)
    x = t.x.clone().requires_grad_()
    want = torch.autograd.grad(by_hand(t, x, s).square().sum(), x)[0]
    torch.testing.assert_close(got, want)
    return t.g.last_run


def by_hand(t: Subject, x: Tensor, s: Scalars) -> Tensor:
    theta0, theta1, phi = leaves(t.g)
    return torch.cat(
        [
            functional_call(t.plain, theta(theta0, theta1, phi, s_i), x[i : i + 1])
            for i, s_i in enumerate([s] * 4 if isinstance(s, int) else s)
        ]
    )


@tool("torch.func.jvp with respect to x")
def _(s: Scalars) -> str | None:
    t = subject()
    v = torch.randn_like(t.x)
    y, dy = torch.func.jvp(lambda x: t.g(x, torch.tensor(s)), (t.x,), (v,))
    x = t.x.clone().requires_grad_()
    want = by_hand(t, x, s)
    u = torch.zeros_like(want, requires_grad=True)  # jvp by two vjps
    (vjp,) = torch.autograd.grad(want, x, u, create_graph=True)
    (jvp,) = torch.autograd.grad(vjp, u, v)
    torch.testing.assert_close((y, dy), (want, jvp))
    return t.g.last_run


def floats(s: Scalars) -> tuple[Tensor, Tensor]:
    """Scalars within the segments between steps, and by how much they are moved."""
    where = torch.tensor(s).double().clamp(max=STEPS - 2) + 0.5
    return where / (STEPS - 1), torch.ones_like(where) * 1e-4


@tool("torch.func.jvp with respect to s")
def _(s: Scalars) -> str | None:
    t = subject()
    at, h = floats(s)
    _, dy = torch.func.jvp(lambda s: t.g(t.x, s), (at,), (torch.ones_like(at),))
    with torch.no_grad():
        want = (t.g(t.x, at + h) - t.g(t.x, at - h)) / 2e-4
    torch.testing.assert_close(dy, want, rtol=1e-4, atol=1e-5)
    return None


@tool("torch.func.grad with respect to s")
def _(s: Scalars) -> str | None:
    t = subject()
    at, h = floats(s)
    got = torch.func.grad(lambda s: t.g(t.x, s).square().sum())(at)
    with torch.no_grad():
        each = [t.g(t.x, at + d).square().flatten(1).sum(1) for d in (h, -h)]
    want = (each[0] - each[1]) / 2e-4
    want = want.sum() if at.dim() == 0 else want
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    return None


@tool("loss.backward() to s")
def _(s: Scalars) -> str | None:
    t = subject()
    at, h = floats(s)
    at.requires_grad_()
    t.g(t.x, at).square().sum().backward()
    with torch.no_grad():
        each = [t.g(t.x, at + d).square().flatten(1).sum(1) for d in (h, -h)]
    want = (each[0] - each[1]) / 2e-4
    want = want.sum() if at.dim() == 0 else want
    torch.testing.assert_close(at.grad, want, rtol=1e-4, atol=1e-5)
    return None


@tool("torch.vmap over x and s")
def _(s: Scalars) -> str | None:
    t = subject()
    if isinstance(s, int):
        y = torch.vmap(lambda x: t.g(x[None], torch.tensor(s))[0])(t.x)
    else:
        y = torch.vmap(lambda x, s: t.g(x[None], s)[0])(t.x, floats_of_steps(s))
    t.check_value(s, y)
    return None


def floats_of_steps(s: list[int]) -> Tensor:
    return torch.tensor(s).double() / (STEPS - 1)


@tool("torch.vmap over batches, with s given")
def _(s: Scalars) -> str | None:
    t = subject()
    noise = torch.stack([t.x, t.x])
    y = torch.vmap(lambda x: t.g(x, torch.tensor(s)))(noise)
    t.check_value(s, y[0])
    t.check_value(s, y[1])
    return None


@tool("torch.func.vmap(grad) of parameters: gradients of each sample")
def _(s: Scalars) -> str | None:
    t = subject()
    parameters = {name: p.detach() for name, p in t.g.named_parameters()}
    steps = torch.tensor([s] * 4 if isinstance(s, int) else s).double() / (STEPS - 1)

    def loss(parameters: dict, x: Tensor, s: Tensor) -> Tensor:
        return functional_call(t.g, parameters, (x[None], s)).square().sum()

    each = torch.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, t.x, steps)
    t.g(t.x, torch.tensor(s)).square().sum().backward()
    for name, p in t.g.named_parameters():
        torch.testing.assert_close(each[name].sum(0), p.grad)
    return None


@tool("torch.autograd.functional.hvp (double backward)")
def _(s: Scalars) -> str | None:
    t = subject()
    results = []
    for run in (lambda x: t.g(x, torch.tensor(s)), lambda x: by_hand(t, x, s)):
        x = t.x.clone().requires_grad_()
        (first,) = torch.autograd.grad(run(x).square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append(second)
    torch.testing.assert_close(*results)
    return t.g.last_run


@tool("Gradient penalty: double backward to the parameters")
def _(s: Scalars) -> str | None:
    t = subject()
    x = t.x.clone().requires_grad_()
    (first,) = torch.autograd.grad(t.g(x, torch.tensor(s)).square().sum(), x, create_graph=True)
    first.square().sum().backward()
    theta0, theta1, phi = leaves(t.g)
    x = t.x.clone().requires_grad_()
    outputs = [
        functional_call(t.plain, theta(theta0, theta1, phi, s_i), x[i : i + 1])
        for i, s_i in enumerate([s] * 4 if isinstance(s, int) else s)
    ]
    (first,) = torch.autograd.grad(torch.cat(outputs).square().sum(), x, create_graph=True)
    first.square().sum().backward()
    want = {
        **{f"theta0.{name}": p.grad for name, p in theta0.items()},
        **{f"theta1.{name}": p.grad for name, p in theta1.items()},
        "phi": phi.grad,
    }
    for name, p in names_of(t.g).items():
        zero = torch.zeros_like(p)
        ours = zero if p.grad is None else p.grad
        torch.testing.assert_close(ours, zero if want[name] is None else want[name])
    return t.g.last_run


def checkpoint_around(s: Scalars, use_reentrant: bool) -> str | None:
    from torch.utils.checkpoint import checkpoint

    t = subject()
    return t.check(s, lambda x, s: checkpoint(t.g, x, s, use_reentrant=use_reentrant))


def checkpoint_wrapper(net: nn.Module) -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
        apply_activation_checkpointing,
    )

    apply_activation_checkpointing(net, check_fn=lambda module: isinstance(module, nn.Conv2d))


@tool("apply_activation_checkpointing(network) before interpolate")
def _(s: Scalars) -> str | None:
    t = subject(prepare=checkpoint_wrapper)
    plain = copy.deepcopy(t.g.theta0)
    t.plain = plain
    checkpoint_off(plain)
    return t.check(s, t.g)


def checkpoint_off(net: nn.Module) -> None:
    """functional_call is wrong for what the backward pass recomputes."""
    for module in net.modules():
        if hasattr(module, "checkpoint_fn"):
            module.checkpoint_fn = lambda function, *args, **kwargs: function(*args, **kwargs)


@tool("apply_activation_checkpointing(net) after interpolate")
def _(s: Scalars) -> str | None:
    t = subject()
    checkpoint_wrapper(t.g)
    return t.check(s, t.g)


@tool("checkpoint(net, x, s, use_reentrant=False)")
def _(s: Scalars) -> str | None:
    return checkpoint_around(s, False)


@tool("checkpoint(net, x, s, use_reentrant=True)")
def _(s: Scalars) -> str | None:
    return checkpoint_around(s, True)


def solved(s: Scalars, **options: Any) -> None:
    """The gradients of the adjoint method are those of backpropagation through the solver."""
    from torchdiffeq import odeint, odeint_adjoint

    t = subject()
    gradients = []
    scale = 1.0 if isinstance(s, int) else torch.tensor(s).double() / (STEPS - 1)

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.g = t.g

        def forward(self, time: Tensor, x: Tensor) -> Tensor:
            return self.g(x, time * scale)

    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for solve in (odeint, odeint_adjoint):
        t.g.zero_grad()
        solve(Field(), t.x, times, **options)[-1].square().mean().backward()
        gradients.append([p.grad for p in t.g.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-4)


@tool('torchdiffeq.odeint_adjoint(method="rk4")')
def _(s: Scalars) -> str | None:
    return solved(s, method="rk4", options={"step_size": 0.1})


@tool('torchdiffeq.odeint(method="dopri5"), which looks beyond the last time')
def _(s: Scalars) -> str | None:
    # A second step of ten times the first, the most that it takes, whatever the error.
    return solved(s, method="dopri5", rtol=1e3, atol=1e3, options={"first_step": 0.4})


# Copies and threads


@tool("copy.deepcopy and pickle")
def _(s: Scalars) -> str | None:
    t = subject()
    t.g(t.x, torch.tensor(s))
    t.g = pickle.loads(pickle.dumps(copy.deepcopy(t.g)))
    return t.check(s, t.g)


@tool("torch.save(net.state_dict()), load_state_dict")
def _(s: Scalars) -> str | None:
    t, fresh = subject(), interpolate(plain_network(), num_scalars=STEPS).double().eval()
    file = io.BytesIO()
    torch.save(t.g.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file))
    t.g = fresh
    return t.check(s, t.g)


@tool("safetensors save_model, load_model")
def _(s: Scalars) -> str | None:
    from safetensors.torch import load_model, save_model

    t, fresh = subject(), interpolate(plain_network(), num_scalars=STEPS).double().eval()
    with tempfile.TemporaryDirectory() as folder:
        save_model(t.g, f"{folder}/g.safetensors")
        load_model(fresh, f"{folder}/g.safetensors")
    t.g = fresh
    return t.check(s, t.g)


@tool('torch.device("meta"), then to_empty and load_state_dict')
def _(s: Scalars) -> str | None:
    t = subject()
    with torch.device("meta"):
        fresh = interpolate(plain_network(), num_scalars=STEPS).double().eval()
    fresh = fresh.to_empty(device="cpu")
    fresh.load_state_dict(t.g.state_dict())
    t.g = fresh
    return t.check(s, t.g)


@tool("load_state_dict(assign=True)")
def _(s: Scalars) -> str | None:
    t = subject()
    fresh = interpolate(plain_network(), num_scalars=STEPS).double().eval()
    fresh(t.x, torch.tensor(s))
    fresh.load_state_dict(t.g.state_dict(), assign=True)
    t.g = fresh
    return t.check(s, t.g)


@tool("Two threads at once")
def _(s: Scalars) -> str | None:
    t = subject()
    want = {str(each): t.value(each) for each in (s, 8)}
    faults: list[str] = []

    def work(each: Scalars) -> None:
        for _ in range(10):
            with torch.no_grad():
                y = t.g(t.x, torch.tensor(each))
            if not torch.allclose(y, want[str(each)]):
                faults.append(str(each))

    threads = [threading.Thread(target=work, args=(each,)) for each in (s, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults
    return None


@tool("torch.inference_mode()")
def _(s: Scalars) -> str | None:
    t = subject()
    want = t.value(s)
    with torch.inference_mode():
        close(t.g(t.x, torch.tensor(s)), want, 1e-7)
    return t.check(s, t.g)  # and training afterwards


@tool("A network in a network: interpolate(net) as a part of another")
def _(s: Scalars) -> str | None:
    t = subject()

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = t.g

        def forward(self, x: Tensor, s: Tensor) -> Tensor:
            return self.inner(x, s)

    return t.check(s, Whole())


@tool("parameter_groups(net, lr, lr_lambda)")
def _(s: Scalars) -> str | None:
    t = subject()
    start = trained(t.g)
    train_in_loop(t, s, torch.optim.SGD(parameter_groups(t.g, lr=0.0, lr_lambda=0.1)), 1)
    changed = [name for name, p in t.g.named_parameters() if not torch.equal(p, start[name])]
    assert changed == ["interpolation.phi"]
    return t.g.last_run
