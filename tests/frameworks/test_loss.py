"""The training loss: || g(x_s, s) - target ||^2, averaged over the elements of each sample."""

import pytest
import torch

from dpi.frameworks import FlowMatching, VPDiffusion, loss


@pytest.mark.parametrize("framework", [VPDiffusion(), FlowMatching()])
@pytest.mark.parametrize("s", [torch.tensor(300), torch.tensor([0, 300, 999, 5])])
def test_is_the_squared_error_of_each_sample(framework, s):
    x, noise = torch.rand(4, 3, 2, 2) * 2 - 1, torch.randn(4, 3, 2, 2)
    losses = loss(lambda x, s: 0.5 * x, framework, x, noise, s)
    assert losses.shape == (4,)
    for i, step in enumerate(s.expand(4)):
        corrupted, target = framework.corrupt(x[i : i + 1], noise[i : i + 1], step)
        torch.testing.assert_close(losses[i], ((0.5 * corrupted - target) ** 2).mean())


def test_is_computed_in_float32():
    x, noise = torch.zeros(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    losses = loss(lambda x, s: x.bfloat16(), VPDiffusion(), x, noise, torch.tensor(999))
    assert losses.dtype == torch.float32
    expected = (noise.bfloat16().float() - noise).square().mean()
    torch.testing.assert_close(losses[0], expected, rtol=0.1, atol=0)
