import torch

from dpi.architectures import DRUNet


def test_dropout_is_between_the_two_convolutions():
    """With dropout probability 1 a residual block is the identity."""
    net = DRUNet(channels=(4, 6, 8), num_blocks=2, dropout=1.0)
    h = torch.rand(1, 8, 2, 2)
    assert torch.equal(net.body[0](h), h)


def test_output_channels_and_a_single_level():
    net = DRUNet(in_channels=2, out_channels=5, channels=(4,), num_blocks=1)
    assert net.stride == 1
    assert net(torch.zeros(1, 2, 3, 5)).shape == (1, 5, 3, 5)
