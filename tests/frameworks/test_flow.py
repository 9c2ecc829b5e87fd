"""Flow matching: the straight path, its velocity, and Euler's method."""

import pytest
import torch
from torchdiffeq import odeint

from dpi.frameworks import FlowMatching


@pytest.mark.parametrize("s", [torch.tensor([0, 999, 250]), torch.tensor([0, 1, 250 / 999])])
def test_the_path_is_straight_from_noise_to_data(s):
    """By steps and by times."""
    x, noise = torch.randn(3, 3, 2, 2), torch.randn(3, 3, 2, 2)
    corrupted, velocity = FlowMatching(1000).corrupt(x, noise, s)
    for i, t in enumerate((0, 1, 250 / 999)):
        torch.testing.assert_close(corrupted[i], t * x[i] + (1 - t) * noise[i])
    torch.testing.assert_close(velocity, x - noise)


@pytest.mark.parametrize("num_steps", [1, 7, 200])
def test_sample_is_eulers_method_in_equal_steps_from_0_to_1(num_steps):
    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    times = []

    def velocity(x, t):
        times.append(float(t))
        return torch.sin(3 * x) - 0.5 * x * t

    sample = FlowMatching().sample(velocity, noise, num_steps)
    assert times == pytest.approx([k / num_steps for k in range(num_steps)])
    steps = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    path = odeint(lambda t, x: velocity(x, t.float()), noise, steps, method="euler")
    assert torch.equal(sample, path[-1].clamp(-1, 1))
    expected = noise.double()
    for k in range(num_steps):
        expected = expected + velocity(expected, k / num_steps) / num_steps
    torch.testing.assert_close(sample.double(), expected.clamp(-1, 1), atol=1e-4, rtol=0)
