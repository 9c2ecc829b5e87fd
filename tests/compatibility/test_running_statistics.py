"""Running statistics of a third-party network belong to theta0."""

import timm
import torch

from dpi.interpolation import interpolate


def test_running_statistics_belong_to_theta0():
    g = interpolate(timm.create_model("test_resnet", num_classes=3))
    before = {name: b.clone() for name, b in g.theta0.named_buffers()}
    assert before and not list(g.theta1.buffers())
    g.train()(torch.randn(4, 3, 32, 32), 500)
    changed = [name for name, b in g.theta0.named_buffers() if not torch.equal(b, before[name])]
    assert changed
    g.eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(g.at(500)(x), g(x, 500))
