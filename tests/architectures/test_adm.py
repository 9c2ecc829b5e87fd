import re
from contextlib import nullcontext

import pytest
import torch
from test_networks import SMALL
from torch import nn

from dpi.architectures import ADM
from dpi.architectures.adm import Attention

X = torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("modulation", ["scale_shift", "additive"])
def test_a_zero_embedding_equals_no_embedding(randomize, modulation):
    net = randomize(ADM(**SMALL, time_embedding=True, modulation=modulation)).eval()
    for module in net.modules():
        if isinstance(getattr(module, "project", None), nn.Linear):
            nn.init.zeros_(module.project.weight)
            nn.init.zeros_(module.project.bias)
    unconditional = randomize(ADM(**SMALL)).eval()
    torch.testing.assert_close(net(X, torch.tensor([0, 400, 999])), unconditional(X))


def test_time_changes_the_output_and_may_be_a_float(randomize):
    net = randomize(ADM(**SMALL, time_embedding=True)).eval()
    steps = torch.tensor([5, 5, 6])
    same = X[:1].expand(3, -1, -1, -1)
    y = net(same, steps)
    assert torch.allclose(y[0], y[1], atol=1e-5) and not torch.allclose(y[0], y[2], atol=1e-3)
    torch.testing.assert_close(net(same, steps.float()), y)
    between = net(same, steps + 0.5)
    assert not torch.allclose(between, y, atol=1e-3)


def test_zero_initialization():
    """At initialization the output is 0 and a residual block returns its skip connection."""
    torch.manual_seed(0)
    net = ADM(**SMALL).eval()
    assert not net(X).any()
    h = torch.rand(1, 128, 4, 4)
    assert torch.equal(net.middle(h, None), h)


@pytest.mark.parametrize(
    ("resolutions", "levels", "missing"),
    [
        ((), {}, None),
        ((32,), {1}, None),
        ((16,), {2}, None),
        ((15,), {2}, [15]),
        ((16, 32), {1, 2}, None),
        ((24,), {1}, [24]),
        ((8, 16), {2}, [8]),
        ((20, 4), {}, [20, 4]),
        ((128,), {}, [128]),
    ],
)
def test_attention_is_at_its_resolutions(resolutions, levels, missing):
    """image_size // resolution is the downsampling factor, as in guided-diffusion; resolutions that
    no level has exactly are warned of."""
    said = (
        pytest.warns(match=f"no level has .*{re.escape(str(missing))}")
        if missing
        else nullcontext()
    )
    with torch.device("meta"), said:
        net = ADM(
            image_size=64,
            base_channels=64,
            channel_mult=(1, 1, 1),
            num_res_blocks=2,
            attention_resolutions=resolutions,
        )

    def attending(stages):
        kinds = [{type(layer) for layer in stage} for stage in stages]
        return [i for i, of in enumerate(kinds) if Attention in of]

    # The first convolution; per level two blocks and, except in the last, downsampling.
    encoder = {1: 0, 2: 0, 4: 1, 5: 1, 7: 2, 8: 2}
    assert attending(net.encoder) == [i for i, level in encoder.items() if level in levels]
    # Three blocks per level, the coarsest level first.
    assert attending(net.decoder) == [i for i in range(9) if 2 - i // 3 in levels]
    assert len(net.encoder) == len(net.decoder) == 9 and attending([net.middle])


def test_a_missing_or_unexpected_time_raises():
    with pytest.raises(ValueError, match=r"time_embedding=True.*forward\(x, t\)"):
        ADM(**SMALL, time_embedding=True)(X)
    with pytest.raises(ValueError, match=r"time_embedding=False.*forward\(x\)"):
        ADM(**SMALL)(X, torch.zeros(3))
