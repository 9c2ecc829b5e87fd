"""g(x, s) = f(theta(s), x): any network, told a scalar through its parameters (Section 3.1)."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpi.interpolation.function import InterpolationFunction
from dpi.interpolation.lerp import lerp


class Interpolated(nn.Module):
    """A network f with two parameter sets, run with

        theta(s) = (1 - lambda(s)) theta0 + lambda(s) theta1.                      (2)

    `theta0` is the network that was given, `theta1` its twin: both have the network's own
    parameter names, so that either half of the state dict loads into the plain network. Buffers
    (batch statistics, say) belong to theta0 and are not interpolated.

    Build one with `interpolate`.
    """

    def __init__(
        self, theta0: nn.Module, theta1: nn.Module, interpolation: InterpolationFunction
    ) -> None:
        super().__init__()
        self.theta0 = theta0
        self.theta1 = theta1
        self.interpolation = interpolation
        self._slots = _slots(theta0)

    def parameters_at(self, s: Tensor) -> list[dict[str, Tensor]]:
        """theta(s) for each of the scalars s, (G,), under the network's parameter names."""
        weights = self.interpolation(s)
        pairs = zip(self.theta0.parameters(), self.theta1.parameters(), strict=True)
        thetas = zip(*(lerp(theta0, theta1, weights) for theta0, theta1 in pairs), strict=True)
        return [{name: theta[i] for name, i in self._slots.items()} for theta in thetas]

    def forward(self, x: Tensor, s: Tensor | float) -> Tensor:
        """Run the network on x, told s.

        Args:
            x: (B, ...), whatever the network takes.
            s: one scalar for the batch, or (B,), one a sample: integer steps in [0, S-1] or
                floats in [0, 1]. Samples that share a scalar share a pass, so a batch costs as
                many interpolations as it has distinct scalars. Kept on the CPU, s costs a GPU
                no synchronisation.

        Returns:
            (B, ...): for each sample what it would give alone.

        Raises:
            ValueError: s is out of range, or its shape is neither () nor (B,).
        """
        s = torch.as_tensor(s)
        if s.numel() == 1:
            (theta,) = self.parameters_at(s.reshape(1))
            return self._run(theta, x)
        if s.shape != x.shape[:1]:
            raise ValueError(
                f"s must be one scalar or one for each of the {len(x)} samples, "
                f"got shape {tuple(s.shape)}"
            )
        s, order = s.sort(stable=True)
        scalars, counts = s.unique_consecutive(return_counts=True)
        groups = x[order.to(x.device)].split(counts.tolist())
        # Gradients need every theta(s) at once; without them each is let go after its pass.
        chunks = [scalars] if torch.is_grad_enabled() else scalars.split(1)
        thetas = (theta for chunk in chunks for theta in self.parameters_at(chunk))
        outputs = [self._run(theta, group) for theta, group in zip(thetas, groups, strict=True)]
        return torch.cat(outputs)[order.argsort().to(x.device)]

    def _run(self, theta: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.theta0, theta, (x,), tie_weights=False)


def interpolate(
    net: nn.Module,
    num_scalars: int = 1000,
    schedule: Literal["learnable", "linear"] = "learnable",
    endpoints: Literal["paper", "exact"] = "paper",
    init: Literal["copy", "independent"] = "copy",
) -> Interpolated:
    """Turn a network f(x) into g(x, s), told the scalar s through its parameters.

        net = interpolate(MyNetwork())
        y = net(x, 250)                              # all of x at step 250
        y = net(x, torch.rand(len(x)))               # every sample its own s in [0, 1]
        optimizer = torch.optim.AdamW(parameter_groups(net, lr=1e-4, lr_lambda=1e-3))

    Args:
        net: any module that maps a batch to a batch; it becomes theta0 (not copied).
        num_scalars: S, the number of steps that lambda is given at.
        schedule, endpoints: see `InterpolationFunction`.
        init: theta1 starts as a "copy" of theta0, so that at first the network is deaf to s and
            equals net; or "independent", drawn anew by each layer's `reset_parameters`, save
            for tensors that are constant in theta0 (zeroed output layers, norms), which stay.

    Raises:
        ValueError: an unknown word; a network without parameters; or, with init="independent",
            a layer with parameters that cannot draw them anew.
    """
    if init not in ("copy", "independent"):
        raise ValueError(f"init must be 'copy' or 'independent', got {init!r}")
    if next(net.parameters(), None) is None:
        raise ValueError(f"{type(net).__name__} has no parameters to interpolate")
    theta1 = copy.deepcopy(net)
    for module in theta1.modules():
        for name in list(module._buffers):
            del module._buffers[name]
    if init == "independent":
        _draw_anew(theta1)
    return Interpolated(net, theta1, InterpolationFunction(num_scalars, schedule, endpoints))


def _slots(net: nn.Module) -> dict[str, int]:
    """Where each parameter is used: names to places in net.parameters().

    A tied parameter has a name for each of its uses, but a layer that is used twice is named
    once: functional_call would put its parameter back twice, the second time the wrong one.
    """
    places = {id(parameter): place for place, parameter in enumerate(net.parameters())}
    return {
        f"{prefix}.{name}" if prefix else name: places[id(parameter)]
        for prefix, module in net.named_modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    }


@torch.no_grad()
def _draw_anew(theta: nn.Module) -> None:
    before = [parameter.clone() for parameter in theta.parameters()]
    for name, module in theta.named_modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"init='independent' needs reset_parameters() on every layer with parameters; "
                f"{name or 'the network'} ({type(module).__name__}) has none; use init='copy'"
            )
    for parameter, old in zip(theta.parameters(), before, strict=True):
        constant = (old == old.flatten()[0]).all()
        parameter.copy_(torch.where(constant, old, parameter))


def parameter_groups(net: nn.Module, lr: float, lr_lambda: float) -> list[dict]:
    """Two parameter groups for an optimizer: phi learns at lr_lambda, all else at lr.

    Works on any module, also one that holds interpolated networks or none.
    """
    phis = [m.phi for m in net.modules() if isinstance(m, InterpolationFunction)]
    phis = [phi for phi in phis if phi is not None]
    ids = {id(phi) for phi in phis}
    groups = [{"params": [p for p in net.parameters() if id(p) not in ids], "lr": lr}]
    if phis:
        groups.append({"params": phis, "lr": lr_lambda})
    return groups
