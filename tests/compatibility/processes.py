"""Networks on two processes. Started by tools.py, once for all checks."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from compatibility.check import attempt
from compatibility.reference import MANY, ONE, assert_same, leaves, names_of, theta
from compatibility.tools import Scalars, Subject, subject
from torch import Tensor, nn
from torch.func import functional_call


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", world_size=2, rank=rank)
    results = {}
    for key, wrap in WRAPPERS.items():
        for word, s in (("one", ONE), ("many", MANY)):
            try:
                how, text = attempt(lambda s=s, wrap=wrap: check(rank, s, wrap))
                results[f"{key} {word}"] = ("refused", text) if how == "refused" else ("", how)
            except Exception as error:
                results[f"{key} {word}"] = ("wrong", str(error) or type(error).__name__)
    if rank == 0:
        (Path(folder) / "results.json").write_text(json.dumps(results))
    dist.barrier()
    os._exit(0)  # destroying the group waits for those that were refused


def check(rank: int, s: Scalars, wrap: Callable[[Subject], nn.Module]) -> str:
    """Each process runs two of the four samples; their gradients are averaged."""
    t = subject()
    mine = slice(2 * rank, 2 * rank + 2)
    want = expected_sum(subject(), s)
    want["output 0"] = want["output 0"][mine]
    net = wrap(t)
    y = net(t.x[mine], torch.tensor(s if isinstance(s, int) else s[mine]))
    loss(y).backward()
    ours = {"output 0": y.detach()}
    with whole_parameters(net):
        parameters = names_of(t.g)
        for name, p in parameters.items():
            assert p.grad is not None, f"{name} has no gradient"
            grad = p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
            ours[f"gradient of {name}"] = 2 * grad
    assert_same(ours, want, 1e-7)
    return t.g.last_run


def whole_parameters(net: nn.Module) -> Any:
    from torch.distributed.fsdp import FullyShardedDataParallel

    if isinstance(net, FullyShardedDataParallel):
        return FullyShardedDataParallel.summon_full_params(net, with_grads=True)
    return contextlib.nullcontext()


def loss(y: Tensor) -> Tensor:
    return (y.square() + y).sum()


def expected_sum(t: Subject, s: Scalars) -> dict[str, Tensor]:
    """Values and gradients of one process, by hand."""
    theta0, theta1, phi = leaves(t.g)
    named = {
        **{f"theta0.{name}": p for name, p in theta0.items()},
        **{f"theta1.{name}": p for name, p in theta1.items()},
        "phi": phi,
    }
    outputs = [
        functional_call(t.plain, theta(theta0, theta1, phi, s_i), t.x[i : i + 1])
        for i, s_i in enumerate([s] * 4 if isinstance(s, int) else s)
    ]
    y = torch.cat(outputs)
    loss(y).backward()
    return {"output 0": y.detach()} | {f"gradient of {n}": p.grad for n, p in named.items()}


def ddp(t: Subject) -> nn.Module:
    return nn.parallel.DistributedDataParallel(t.g)


def whole(t: Subject) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    return fully_shard(t.g, mesh=mesh())


def layers(t: Subject) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for part in t.g.sets():
        for layer in part:
            if next(layer.parameters(), None) is not None:
                fully_shard(layer, mesh=mesh())
    return fully_shard(t.g, mesh=mesh())


def sets(t: Subject) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for part in t.g.sets():
        fully_shard(part, mesh=mesh())
    return fully_shard(t.g, mesh=mesh())


def fsdp1(t: Subject) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(t.g, use_orig_params=True, device_id=torch.device("cpu"))


def mesh() -> Any:
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh("cpu", (2,))


WRAPPERS = {"ddp": ddp, "whole": whole, "layers": layers, "sets": sets, "fsdp1": fsdp1}
