"""What both networks promise, with and without a time embedding."""

import pytest
import torch

from dpi.architectures import ADM, DRUNet

DRUNET = {"channels": (4, 6, 8), "num_blocks": 2}
SMALL = {
    "image_size": 16,
    "base_channels": 64,  # two channels per group; with one, the norm removes an added embedding
    "channel_mult": (1, 2),
    "attention_resolutions": (8,),
    "head_channels": 16,
}
NETWORKS = {
    "drunet": (DRUNet, DRUNET),
    "adm": (ADM, SMALL),
    "adm-scale_shift": (ADM, SMALL | {"time_embedding": True}),
    "adm-additive": (ADM, SMALL | {"time_embedding": True, "modulation": "additive"}),
}


@pytest.fixture(params=NETWORKS)
def net(request, randomize):
    network, settings = NETWORKS[request.param]
    return randomize(network(**settings))


@pytest.fixture
def inputs(net):
    """Three images, and times if the network takes any."""
    x = torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (x, torch.tensor([0, 400, 999])) if getattr(net, "embed", None) else (x,)


@pytest.mark.parametrize(
    ("network", "settings", "count"),
    [
        (DRUNet, {}, 63_901_056),
        (DRUNet, {"in_channels": 4}, 63_901_632),
        (ADM, {}, 60_867_075),
        (ADM, {"in_channels": 4}, 60_868_227),
        (ADM, {"time_embedding": True}, 68_156_163),
    ],
)
def test_parameter_count_matches_the_paper(network, settings, count):
    with torch.device("meta"):
        net = network(**settings)
    assert sum(p.numel() for p in net.parameters()) == count


def test_a_batch_equals_its_images_one_at_a_time(net, inputs):
    net.eval()
    each = zip(*(tensor.split(1) for tensor in inputs), strict=True)
    alone = torch.cat([net(*one) for one in each])
    torch.testing.assert_close(net(*inputs), alone, rtol=1e-4, atol=1e-5)


def test_channels_last_has_the_same_output(net, inputs):
    y = net.eval()(*inputs)
    x = inputs[0].contiguous(memory_format=torch.channels_last)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x, *inputs[1:]), y, rtol=1e-4, atol=1e-5)


def test_dropout_is_active_in_training_only(net, inputs):
    assert not torch.equal(net(*inputs), net(*inputs))
    net.eval()
    assert torch.equal(net(*inputs), net(*inputs))


def test_gradient_reaches_every_parameter(net, inputs):
    net(*inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_half_and_double_precision(net, inputs):
    y = net.eval()(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert (net(*inputs).float() - y).abs().mean() < 0.05 * y.float().std()
    double = net.double()(inputs[0].double(), *inputs[1:])
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("side", [(8, 9), (6, 8)])
@pytest.mark.parametrize(
    "made", [lambda: DRUNet(**DRUNET), lambda: ADM(**SMALL | {"channel_mult": (1, 1, 1)})]
)
def test_an_indivisible_image_size_raises(made, side):
    net = made()
    assert net.stride == 4
    with pytest.raises(ValueError, match=rf"{side[0]}x{side[1]}.* multiples of 4"):
        net(torch.zeros(1, 3, *side))


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        (DRUNet, {"channels": ()}, "positive channels and num_blocks"),
        (DRUNet, {"channels": (8, 0)}, "positive channels and num_blocks"),
        (DRUNet, {"num_blocks": 0}, "positive channels and num_blocks"),
        (ADM, {"base_channels": 48}, "multiples of norm_groups=32, got "),
        (ADM, {"norm_groups": 0}, "multiples of norm_groups=0, got "),
        (ADM, {"channel_mult": ()}, "multiples of norm_groups=32, got "),
        (ADM, {"channel_mult": (0, 1)}, "multiples of norm_groups=32, got "),
        (ADM, {"head_channels": 24}, "128 channels do not divide into attention heads"),
        (ADM, {"head_channels": 0}, "do not divide into attention heads"),
        (ADM, {"head_channels": 256}, "do not divide into attention heads"),
        (ADM, {"head_channels": None, "num_heads": 3}, "do not divide into attention heads"),
        (ADM, {"head_channels": None, "num_heads": 0}, "do not divide into attention heads"),
        (ADM, {"num_res_blocks": 0}, "positive num_res_blocks"),
        (ADM, {"attention_resolutions": (0,)}, "positive num_res_blocks and attention_resolutions"),
        (ADM, {"modulation": "film"}, "modulation must be scale_shift or additive, got 'film'"),
    ],
)
def test_invalid_arguments_raise(network, settings, message):
    small = SMALL if network is ADM else {}
    with pytest.raises(ValueError, match=message) as error, torch.device("meta"):
        network(**small | settings)
    assert "\n" not in str(error.value)
