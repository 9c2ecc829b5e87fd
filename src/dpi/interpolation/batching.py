"""Two ways to run a batch in which samples have different scalars.

One pass: every operation uses the parameters of each sample (`dpi.interpolation.per_sample`). A
network is run this way only after it was verified, on three samples of each new shape, to compute
what it computes for one sample at a time.

Grouped: one pass for each distinct scalar, over the samples that share it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dpi.interpolation.arguments import Dims, assemble, take
from dpi.interpolation.lerp import fractions, interpolated
from dpi.interpolation.low_rank import LowRank
from dpi.interpolation.operations import filled_parts
from dpi.interpolation.per_sample import Batch, PerSampleWeight
from dpi.interpolation.plan import Plan
from dpi.interpolation.replica import Replica
from dpi.precision import autocasts


def per_sample_weights(
    c: Tensor, sets: Sequence[Sequence[Tensor]], plan: Plan, low_rank: LowRank | None = None
) -> list[PerSampleWeight]:
    """The parameters theta(s_b) of every sample b, for one pass.

    Args:
        c: the coefficients of each sample, see `lerp`, (K - 1, B).
        sets: the interpolated parameters in theta0, theta1 and on.
        plan: which samples share a scalar.
        low_rank: the differences between the sets, in place of all but the first.
    """
    order = plan.order if plan.order is None else plan.order.to(c.device, non_blocking=True)
    batch = Batch(c, plan.sizes, order)
    if low_rank is not None:
        factors = zip(sets[0], low_rank.factors(), strict=True)
        return [PerSampleWeight.of_low_rank(batch, first, u, v) for first, (u, v) in factors]
    return [PerSampleWeight.of(batch, values) for values in zip(*sets, strict=True)]


def nested_weights(d: Tensor, sets: Sequence[Sequence[Any]]) -> list[PerSampleWeight]:
    """The parameters of an interpolated network inside another that runs in one pass.

    Its sets differ between samples themselves, S_k = p_k0 + sum_n c_n p_kn, so that

        S_0 + sum_k d_k (S_k - S_{k-1})
            = p_00 + sum_n c_n p_0n + sum_k d_k (p_k0 - p_{k-1,0})
              + sum_kn d_k c_n (p_kn - p_{k-1,n}).

    Args:
        d: the inner coefficients, (K - 1,) or (K - 1, B).
        sets: the inner sets.
    """
    outer = next(p.batch for theta in sets for p in theta if isinstance(p, PerSampleWeight))
    d = d.reshape(len(d), -1).expand(-1, outer.size)
    products = (d[:, None] * outer.c).flatten(0, 1)
    batch = Batch(torch.cat([outer.c, d, products]))
    nested = []
    for values in zip(*sets, strict=True):
        parts = [filled_parts(value, len(outer.c)) for value in values]
        steps = [
            [a - b for a, b in zip(*two, strict=True)]
            for two in zip(parts[1:], parts, strict=False)
        ]
        constant, linear = [step[0] for step in steps], [p for step in steps for p in step[1:]]
        nested.append(PerSampleWeight(batch, [*parts[0], *constant, *linear]))
    return nested


def run_grouped(
    networks: Iterable[Callable[..., Any]],
    plan: Plan,
    args: tuple,
    kwargs: dict[str, Any],
    names: Sequence[str],
    in_dims: Mapping[str, Dims],
    out_dims: Dims,
) -> Any:
    """Run one pass per distinct scalar.

    Args:
        networks: the network with the parameters theta(s) of each distinct scalar.
        plan: which samples share a scalar.
        args, kwargs: arguments of the network.
        names: names of the positional arguments.
        in_dims, out_dims: see `dpi.interpolation.interpolate`.

    Returns:
        The output of the network, in the order of the samples.

    Raises:
        ValueError: an argument cannot be split, or an output cannot be assembled.
    """
    size = len(plan.where)
    sizes = plan.sizes or (1,) * size
    order = torch.arange(size) if plan.order is None else plan.order
    outputs = []
    for net, index in zip(networks, order.split(list(sizes)), strict=True):
        some_args, some_kwargs = take(args, kwargs, size, index, names, in_dims)
        outputs.append(net(*some_args, **some_kwargs))
    return assemble(outputs, sizes, plan.order, out_dims)


@torch.no_grad()
def why_not_one_pass(
    theta0: nn.Module,
    sets: Sequence[Sequence[Tensor]],
    size: int,
    args: tuple,
    kwargs: dict[str, Any],
    names: Sequence[str],
    in_dims: Mapping[str, Dims],
) -> str | None:
    """Why a network cannot be run in one pass, or None if it can.

    Three samples are run in one pass and one at a time, with parameters that differ noticeably
    between the sets, and the outputs are compared. This finds what no look at the operations can:
    inputs that have as many rows as the batch by coincidence, permutations of the batch. The
    network's buffers, attributes and random numbers are left as they were.

    Args:
        theta0: the network.
        sets: the interpolated parameters in theta0, theta1 and on.
        size: B, the number of samples.
        args, kwargs, names, in_dims: see `run_grouped`.
    """

    def run(values: Iterable[Any], index: list[int], training: bool = False) -> list[Any]:
        some_args, some_kwargs = take(args, kwargs, size, torch.tensor(index), names, in_dims)
        replica = Replica(theta0, dict(zip(sets[0], values, strict=True)), isolated=True)
        replica.net.train(training)
        return tree_leaves(replica(*some_args, **some_kwargs))

    def plain(c: Tensor) -> Iterable[Tensor]:
        return (interpolated(c, values) for values in zip(*perturbed, strict=True))

    def per_sample(c: Tensor) -> Iterable[PerSampleWeight]:
        batch = Batch(c)
        return (PerSampleWeight.of(batch, values) for values in zip(*perturbed, strict=True))

    device = sets[0][0].device
    three = [0, 1, 2 % size]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        perturbed = [
            [_perturbed(p, len(sets) * i + k) for i, p in enumerate(theta)]
            for k, theta in enumerate(sets)
        ]
        c = fractions(torch.tensor([0.0, 0.4, 1.0]).to(device, non_blocking=True), len(sets))
        alone, pair, reason = [], [], None
        try:
            alone = [run(plain(c[:, b]), [i]) for b, i in enumerate(three)]
            pair = run(plain(c[:, 0]), three[:2])
            together = run(per_sample(c), three)
            reverse = run(per_sample(c.flip(1)), three[::-1])  # the network may sort
            if theta0.training:  # other operations may be reached
                run(per_sample(c[:, :2]), three[:2], training=True)
            for found, expected in ((together, alone), (reverse, alone[::-1])):
                if not _equal(found, assemble(expected, (1, 1, 1), None, 0)):
                    reason = "its output in one pass is not that of one sample at a time"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of an operation, or of whatever the network does with a weight
            reason = str(error).partition("\n")[0] or type(error).__name__
    if pair:
        _check_shapes(pair, alone[0])
    return reason


def _check_shapes(pair: list[Any], alone: list[Any]) -> None:
    """Of two samples, one dimension of each output may differ from that of one: the batch."""
    for two, one in zip(pair, alone, strict=True):
        if not isinstance(two, Tensor) or two.dim() != one.dim():
            continue
        if sum(m != n for m, n in zip(two.shape, one.shape, strict=True)) > 1:
            raise ValueError(
                f"an output has shape {tuple(one.shape)} for one sample and {tuple(two.shape)} for "
                "two; declare the arguments that belong to all samples: in_dims={name: None}"
            )


def _perturbed(parameter: Tensor, seed: int) -> Tensor:
    scale = parameter.abs().square().mean().sqrt()
    scale = torch.where(scale > 0, 0.2 * scale, 0.02)  # layers initialized to zero
    # As good as random here, and vmap does not object.
    noise = (12.9898 * torch.arange(parameter.numel(), device=parameter.device) + seed).sin()
    return parameter + (scale * noise.reshape(parameter.shape)).to(parameter.dtype)


def _equal(found: list[Any], expected: list[Any]) -> bool:
    def close(a: Any, b: Any) -> bool:
        if not isinstance(a, Tensor):
            return bool(a == b)
        if a.shape != b.shape:
            return False
        if not (a.is_floating_point() or a.is_complex()):
            return torch.equal(a, b)
        rounded = torch.finfo(a.dtype).eps > 1e-5 or autocasts(a.device)
        tolerance = 5e-2 if rounded else 1e-3
        return bool((a - b).abs().max() <= tolerance * b.abs().max())

    return len(found) == len(expected) and all(map(close, found, expected))
