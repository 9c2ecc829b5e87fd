import pytest
import torch
from torch.func import functional_call

from dpi.architectures import DRUNet


@pytest.fixture
def net():
    torch.manual_seed(0)
    return DRUNet(channels=(4, 6, 8), num_blocks=2)


@pytest.fixture
def x():
    return torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("in_channels", "count"), [(3, 63_901_056), (4, 63_901_632)])
def test_parameter_count_matches_the_paper(in_channels, count):
    with torch.device("meta"):
        net = DRUNet(in_channels=in_channels)
    assert sum(p.numel() for p in net.parameters()) == count


def test_a_batch_equals_its_images_one_at_a_time(net, x):
    net.eval()
    torch.testing.assert_close(net(x), torch.cat([net(image[None]) for image in x]))


def test_channels_last_has_the_same_output(net, x):
    net.eval()
    y = net(x)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x.contiguous(memory_format=torch.channels_last)), y)


def test_functional_call_uses_the_given_parameters(net, x):
    net.eval()
    other = DRUNet(channels=(4, 6, 8), num_blocks=2).eval()
    theta = dict(other.named_parameters())
    torch.testing.assert_close(functional_call(net, theta, (x,)), other(x))


def test_dropout_is_active_in_training_only(net, x):
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_dropout_is_between_the_two_convolutions(net, x):
    """With dropout probability 1 a residual block is the identity."""
    block = net.body[0]
    block.dropout.p = 1.0
    h = torch.rand(1, 8, 2, 2)
    assert torch.equal(block(h), h)


def test_gradient_reaches_every_parameter(net, x):
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_output_channels_and_a_single_level():
    net = DRUNet(in_channels=2, out_channels=5, channels=(4,), num_blocks=1)
    assert net.stride == 1
    assert net(torch.zeros(1, 2, 3, 5)).shape == (1, 5, 3, 5)


@pytest.mark.parametrize("side", [(8, 10), (6, 8)])
def test_an_indivisible_image_size_raises(net, side):
    assert net.stride == 4
    with pytest.raises(ValueError, match=rf"{side[0]}x{side[1]}.* multiples of 4"):
        net(torch.zeros(1, 3, *side))


@pytest.mark.parametrize("settings", [{"channels": ()}, {"channels": (8, 0)}, {"num_blocks": 0}])
def test_invalid_arguments_raise(settings):
    with pytest.raises(ValueError, match="positive channels and num_blocks"):
        DRUNet(**settings)
