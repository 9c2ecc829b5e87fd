import pytest
import torch
from torch import nn
from torch.func import functional_call

from dpi.architectures import ADM
from dpi.architectures.adm import Attention

SMALL = {
    "image_size": 16,
    "base_channels": 64,  # two channels per group; with one, the norm removes an added embedding
    "channel_mult": (1, 2),
    "attention_resolutions": (8,),
    "head_channels": 16,
}
VARIANTS = [
    {},
    {"time_embedding": True},
    {"time_embedding": True, "modulation": "additive"},
]


@pytest.fixture(params=VARIANTS, ids=["no_embedding", "scale_shift", "additive"])
def net(request, randomize):
    return randomize(ADM(**SMALL, **request.param))


@pytest.fixture
def x():
    return torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def time(net):
    """The arguments of the network besides three images: times, or nothing."""
    return () if net.embed is None else (torch.tensor([0, 400, 999]),)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 60_867_075),
        ({"in_channels": 4}, 60_868_227),
        ({"time_embedding": True}, 68_156_163),
    ],
)
def test_parameter_count_matches_the_paper(settings, count):
    with torch.device("meta"):
        net = ADM(**settings)
    assert sum(p.numel() for p in net.parameters()) == count


def test_a_batch_equals_its_images_one_at_a_time(net, x, time):
    net.eval()
    each = zip(x.split(1), *(t.split(1) for t in time), strict=True)
    alone = torch.cat([net(*one) for one in each])
    torch.testing.assert_close(net(x, *time), alone, rtol=1e-4, atol=1e-5)


def test_channels_last_has_the_same_output(net, x, time):
    net.eval()
    y = net(x, *time)
    net.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x, *time), y, rtol=1e-4, atol=1e-5)


def test_functional_call_uses_the_given_parameters(net, x, time):
    net.eval()
    theta = {name: 0.5 * p for name, p in net.named_parameters()}
    y = functional_call(net, theta, (x, *time))
    net.load_state_dict(theta)
    torch.testing.assert_close(y, net(x, *time))


def test_dropout_is_active_in_training_only(net, x, time):
    assert not torch.equal(net(x, *time), net(x, *time))
    net.eval()
    assert torch.equal(net(x, *time), net(x, *time))


def test_gradient_reaches_every_parameter(net, x, time):
    net(x, *time).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_a_zero_embedding_equals_no_embedding(net, x, time, randomize):
    for module in net.modules():
        if isinstance(getattr(module, "project", None), nn.Linear):
            nn.init.zeros_(module.project.weight)
            nn.init.zeros_(module.project.bias)
    unconditional = randomize(ADM(**SMALL)).eval()
    torch.testing.assert_close(net.eval()(x, *time), unconditional(x))


def test_time_changes_the_output_and_may_be_a_float(randomize, x):
    net = randomize(ADM(**SMALL, time_embedding=True)).eval()
    steps = torch.tensor([5, 5, 6])
    same = x[:1].expand(3, -1, -1, -1)
    y = net(same, steps)
    assert torch.allclose(y[0], y[1], atol=1e-5) and not torch.allclose(y[0], y[2], atol=1e-3)
    torch.testing.assert_close(net(same, steps.float()), y)
    between = net(same, steps + 0.5)
    assert not torch.allclose(between, y, atol=1e-3)


def test_zero_initialization(x):
    """At initialization the output is 0 and a residual block returns its skip connection."""
    torch.manual_seed(0)
    net = ADM(**SMALL).eval()
    assert not net(x).any()
    h = torch.rand(1, 128, 4, 4)
    assert torch.equal(net.middle(h, None), h)


def test_bfloat16_autocast_stays_close(net, x, time):
    net.eval()
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x, *time)
    assert (y.float() - net(x, *time)).abs().mean() < 0.05 * y.float().std()


def test_runs_in_float64(net, x, time):
    assert net.double()(x.double(), *time).dtype == torch.float64


@pytest.mark.parametrize(
    ("resolutions", "stages"),
    [((), []), ((32,), [0, 1]), ((16,), [2, 3]), ((15,), [2, 3]), ((16, 32), [0, 1, 2, 3])],
)
def test_attention_is_at_its_resolutions(resolutions, stages):
    """image_size // resolution is the downsampling factor, as in guided-diffusion."""
    with torch.device("meta"):
        net = ADM(
            image_size=64,
            base_channels=64,
            channel_mult=(1, 1, 1),
            num_res_blocks=2,
            attention_resolutions=resolutions,
        )
    # Encoder: the first convolution; per level two blocks and, except in the last, downsampling.
    level_of = [None, 0, 0, None, 1, 1, None, 2, 2]
    attending = {0: [4, 5], 1: [], 2: [7, 8], 3: []}
    expected = sorted(i for stage in stages for i in attending[stage])
    found = [i for i, stage in enumerate(net.encoder) if any(map(is_attention, stage))]
    assert len(net.encoder) == len(net.decoder) == len(level_of)
    assert found == expected
    # Decoder: one more block per level, coarsest level first.
    found = {i // 3 for i, stage in enumerate(net.decoder) if any(map(is_attention, stage))}
    assert found == {2 - level_of[i] for i in expected}
    assert any(map(is_attention, net.middle))


def is_attention(module):
    return isinstance(module, Attention)


@pytest.mark.parametrize(
    ("settings", "heads"),
    [
        ({"head_channels": 16, "num_heads": 2}, 4),
        ({"head_channels": None, "num_heads": 2}, 2),
    ],
)
def test_head_channels_take_precedence_over_num_heads(settings, heads):
    assert Attention(64, norm_groups=32, **settings).num_heads == heads


@pytest.mark.parametrize("side", [(8, 9), (6, 8)])
def test_an_indivisible_image_size_raises(side):
    net = ADM(**SMALL | {"channel_mult": (1, 1, 1)})
    assert net.stride == 4
    with pytest.raises(ValueError, match=rf"{side[0]}x{side[1]}.* multiples of 4"):
        net(torch.zeros(1, 3, *side))


def test_a_missing_or_unexpected_time_raises(x):
    with pytest.raises(ValueError, match=r"time_embedding=True.*forward\(x, t\)"):
        ADM(**SMALL, time_embedding=True)(x)
    with pytest.raises(ValueError, match=r"time_embedding=False.*forward\(x\)"):
        ADM(**SMALL)(x, torch.zeros(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_channels": 48}, "multiples of norm_groups=32, got "),
        ({"norm_groups": 0}, "multiples of norm_groups=0, got "),
        ({"channel_mult": ()}, "multiples of norm_groups=32, got "),
        ({"channel_mult": (0, 1)}, "multiples of norm_groups=32, got "),
        ({"head_channels": 24}, "128 channels do not divide into attention heads"),
        ({"head_channels": 0}, "do not divide into attention heads"),
        ({"head_channels": 256}, "do not divide into attention heads"),
        ({"head_channels": None, "num_heads": 3}, "do not divide into attention heads"),
        ({"head_channels": None, "num_heads": 0}, "do not divide into attention heads"),
        ({"num_res_blocks": 0}, "positive num_res_blocks"),
        ({"attention_resolutions": (0,)}, "positive num_res_blocks and attention_resolutions"),
        ({"modulation": "film"}, "modulation must be scale_shift or additive, got 'film'"),
    ],
)
def test_invalid_arguments_raise(settings, message):
    with pytest.raises(ValueError, match=message) as error, torch.device("meta"):
        ADM(**SMALL | settings)
    assert "\n" not in str(error.value)
