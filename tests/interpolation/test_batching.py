"""Grouped batches and those in one pass equal one sample at a time, in outputs and gradients."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dpi.interpolation import interpolate

NETWORKS = {
    "2-D": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1, groups=2, padding_mode="circular"),
            nn.GroupNorm(2, 8),
            nn.SiLU(),
            nn.BatchNorm2d(8),
            nn.ConvTranspose2d(8, 4, 2, stride=2, output_padding=1, bias=False),
            nn.Conv2d(4, 2, 3),
        ),
        (2, 6, 6),
    ),
    "1-D": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, dilation=2),
            nn.BatchNorm1d(4, affine=False),
            nn.Tanh(),
            nn.ConvTranspose1d(4, 4, 2, stride=2),
            nn.LayerNorm(8),
            nn.Linear(8, 3, bias=False),
        ),
        (2, 8),
    ),
    "3-D": (lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.BatchNorm3d(2)), (1, 3, 3, 3)),
    "a norm without bias": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4, bias=False)),
        (3, 5),
    ),
}


def make_network(name: str, **options) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    g = interpolate(make(), num_scalars=10, **options).double().eval()
    with torch.no_grad():
        for p in g.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for name, buffer in g.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return g, torch.randn(5, *shape, dtype=torch.float64)


def gradients(g: nn.Module, x: torch.Tensor, run) -> tuple[torch.Tensor, list[torch.Tensor]]:
    g.zero_grad()
    y = run()
    y.square().sum().backward()
    return y.detach(), [p.grad.clone() for p in g.parameters()]


@pytest.mark.parametrize("mode", ["grouped", "one_pass"])
@pytest.mark.parametrize("name", NETWORKS)
@given(s=st.lists(st.integers(0, 9), min_size=5, max_size=5))
@settings(max_examples=8, deadline=None)
def test_a_batch_equals_its_samples_one_at_a_time(name, mode, s):
    g, x = make_network(name, mode=mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = gradients(g, x, lambda: g(x, torch.tensor(s)))
    alone = gradients(g, x, lambda: torch.cat([g(x[i : i + 1], s[i]) for i in range(5)]))
    torch.testing.assert_close(ours, alone)


def test_one_pass_does_not_store_weights_per_sample():
    g = interpolate(nn.Linear(1000, 1000, bias=False))
    x, s = torch.randn(64, 1000, requires_grad=True), torch.rand(64)
    g(x, s)
    saved = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        g(x, s)
    assert sum(saved) < 4 * 1000 * 1000, "the two parameter sets and their difference"
    g.mode = "grouped"
    saved.clear()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        g(x, s)
    assert sum(saved) > 60 * 1000 * 1000


def test_batch_norm_in_training_normalizes_the_group_or_the_batch():
    def trained(mode: str) -> nn.BatchNorm1d:
        g = interpolate(nn.Sequential(nn.BatchNorm1d(1, momentum=1.0)), mode=mode).train()
        g(torch.tensor([[1.0], [3.0], [10.0], [14.0]]), torch.tensor([0, 0, 999, 999]))
        return g.theta0[0]

    grouped, one_pass = trained("grouped"), trained("one_pass")
    assert grouped.running_mean == 12 and grouped.num_batches_tracked == 2
    assert one_pass.running_mean == 7 and one_pass.num_batches_tracked == 1


def test_other_arguments_are_split_by_sample():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x, shift, *, scale, labels):
            return {"y": self.linear(x) * scale + shift, "both": (labels, x)}

    g = interpolate(Conditional(), mode="grouped")
    with torch.no_grad():
        g.theta1.linear.weight.add_(1)
    x, shift, labels = torch.randn(4, 3), torch.randn(4, 1), torch.arange(4)
    s = torch.tensor([7, 2, 7, 0])
    found = g(x, s, shift, scale=2.0, labels=labels)
    assert torch.equal(found["both"][0], labels) and torch.equal(found["both"][1], x)
    for i in range(4):
        one = slice(i, i + 1)
        alone = g(x[one], s[i], shift[one], scale=2.0, labels=labels[one])
        torch.testing.assert_close(found["y"][one], alone["y"])
