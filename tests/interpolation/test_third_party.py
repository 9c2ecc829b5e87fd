"""Third-party networks, interpolated without changes."""

import pytest
import torch
from torch import nn

from dpi.interpolation import interpolate


def unet() -> nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip


def resnet() -> nn.Module:
    import timm

    return timm.create_model("resnet10t", num_classes=4)


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class WithUnused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv1d(2, 2, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x)


NETWORKS = {
    "diffusers UNet2DModel": (unet, (3, 8, 8), {"timestep": 0, "return_dict": False}),
    "timm ResNet": (resnet, (3, 32, 32), {}),
    "TransformerEncoder": (transformer, (5, 8), {}),
    "unused layer": (WithUnused, (2, 9), {}),
}


@pytest.mark.parametrize("mode", ["grouped", "auto"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_equals_its_samples_one_at_a_time(name, mode):
    torch.manual_seed(0)
    make, shape, more = NETWORKS[name]
    g = interpolate(make(), num_scalars=10, mode=mode).double().eval()
    with torch.no_grad():
        for p in g.theta1.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, s = torch.randn(4, *shape, dtype=torch.float64), torch.tensor([9, 0, 4, 0])

    def first(y):
        return y[0] if isinstance(y, tuple) else y

    results = []
    for run in (
        lambda: first(g(x, s, **more)),
        lambda: torch.cat([first(g(x[i : i + 1], s[i], **more)) for i in range(4)]),
    ):
        g.zero_grad()
        y = run()
        y.square().sum().backward()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in g.parameters()]
        results.append([y.detach(), *gradients])
    for ours, alone in zip(*results, strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-5, atol=1e-8)
    assert g.interpolation.phi.grad.any()


def test_running_statistics_belong_to_theta0():
    g = interpolate(resnet())
    before = {name: b.clone() for name, b in g.theta0.named_buffers()}
    assert before and not list(g.theta1.buffers())
    g.train()(torch.randn(4, 3, 32, 32), 500)
    changed = [name for name, b in g.theta0.named_buffers() if not torch.equal(b, before[name])]
    assert changed
    g.eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(g.at(500)(x), g(x, 500))
