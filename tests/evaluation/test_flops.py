"""The paper's printed GFLOPs, and the true ones, of every row of Table 4."""

import pytest
import torch
from conftest import composed
from torch import nn

from dpi.evaluation import count_flops
from dpi.interpolation import interpolate
from dpi.runs.build import build_meta


@pytest.mark.parametrize(
    ("arch", "cond", "paper", "true"),
    [
        ("drunet", "ncsnv2", 34.858, 34.254),
        ("drunet", "dpi", 35.113, None),
        ("adm", "ncsnv2", 49.535, 50.876),
        ("adm", "mlp", 49.559, None),
        ("adm", "dpi", 49.767, None),
    ],
)
def test_counts_are_those_of_table_4(arch, cond, paper, true):
    net = build_meta(composed(f"arch={arch}", f"cond={cond}"))
    x = torch.empty(1, 3, 64, 64, device="meta")
    assert round(count_flops(net, x, torch.tensor(0)) / 1e9, 3) == paper
    if true:
        assert round(count_flops(net, x, torch.tensor(0), "true") / 1e9, 3) == true


def test_every_kind_of_layer_is_counted_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 8x8 positions
        nn.GroupNorm(2, 8),
        nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False),  # from 8x8 to 16x16
        nn.Flatten(),
        nn.Linear(4 * 16 * 16, 5),
    )
    conv, linear = 64 * 8 * (2 * 27 + 1), 5 * (2 * 1024 + 1)
    transposed_true = 64 * 2 * 8 * 4 * 4
    x, s = torch.zeros(1, 3, 8, 8), torch.tensor(0)
    g = interpolate(net)
    parameters = sum(p.numel() for p in net.parameters())
    true = conv + transposed_true + linear + 4 * parameters
    assert count_flops(g, x, s, "true") == true
    in_convolutions = 3 * 8 * 9 + 8 + 8 * 4 * 4
    paper = conv + 64 * 8 + 4 * transposed_true + linear + 4 * in_convolutions
    assert count_flops(g, x, s, "paper") == paper


def test_pictures_multiply_the_network_and_not_the_interpolation():
    g = interpolate(nn.Conv2d(3, 3, 1, bias=False))
    one = count_flops(g, torch.zeros(1, 3, 4, 4), torch.tensor(0), "true")
    assert one == 2 * 9 * 16 + 4 * 9
    four = count_flops(g, torch.zeros(4, 3, 4, 4), torch.tensor(0), "true")
    assert four == 4 * 2 * 9 * 16 + 4 * 9


def test_the_model_is_left_as_it_was():
    g = interpolate(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout()))
    for mode in (True, False):
        count_flops(g.train(mode), torch.zeros(1, 3, 4, 4), torch.tensor(0))
        assert g.training == g.theta0[1].training == mode
    with pytest.raises(ValueError, match="accounting"):
        count_flops(g, torch.zeros(1, 3, 4, 4), torch.tensor(0), "creative")
