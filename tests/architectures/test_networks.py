"""What must hold for either network, whatever its weights."""

import pytest
import torch
from torch import nn

from dpi.architectures import ADM, DRUNet

NETWORKS = {
    "drunet": lambda **k: DRUNet(channels=(8, 16), num_blocks=1, **k),
    "adm": lambda **k: ADM(
        image_size=8,
        base_channels=32,
        channel_mult=(1, 1),
        attention_resolutions=(4,),
        head_channels=16,
        **k,
    ),
}


def randomised(name: str, **settings) -> nn.Module:
    torch.manual_seed(0)
    net = NETWORKS[name](**settings)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_its_pictures_one_at_a_time(name):
    net = randomised(name).eval()
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(net(x), torch.cat([net(p[None]) for p in x]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name):
    net = randomised(name)
    net(torch.randn(2, 3, 8, 8)).square().sum().backward()
    for parameter, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_only_in_training(name):
    net = randomised(name, dropout=0.5)
    x = torch.randn(1, 3, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_format_changes_nothing(name):
    net = randomised(name).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = net(x)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        net(x.to(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_pictures_that_cannot_be_halved_are_refused(name):
    with pytest.raises(ValueError, match="8x7 .* multiples of 2"):
        randomised(name)(torch.randn(1, 3, 8, 7))


@pytest.mark.parametrize("modulation", ["scale_shift", "additive"])
def test_an_embedding_tells_the_time(modulation):
    net = randomised("adm", time_embedding=True, modulation=modulation).eval()
    x = torch.randn(1, 3, 8, 8)
    early, late = net(x, torch.tensor([3])), net(x, torch.tensor([900]))
    assert (early - late).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modulation": "multiply"}, "modulation"),
        ({"base_channels": 48}, "multiples of 32"),
        ({"head_channels": 48}, "attention heads"),
        ({"head_channels": None, "num_heads": 5}, "attention heads"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ADM(**({"image_size": 16} | settings))


def test_a_time_is_given_where_it_is_wanted_and_only_there():
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="takes forward"):
        randomised("adm", time_embedding=True)(x)
    with pytest.raises(ValueError, match="takes no t"):
        randomised("adm")(x, torch.tensor([1]))
