"""Flow matching: the straight path, its velocity, and Euler's method."""

import pytest
import torch
from torchdiffeq import odeint

from dpi.errors import UserError
from dpi.frameworks import FlowMatching


def test_path_from_noise_to_data():
    flow = FlowMatching(1000)
    x, noise = torch.randn(3, 3, 2, 2), torch.randn(3, 3, 2, 2)
    corrupted, velocity = flow.corrupt(x, noise, torch.tensor([0, 999, 500]))
    torch.testing.assert_close(corrupted[0], noise[0])
    torch.testing.assert_close(corrupted[1], x[1])
    t = 500 / 999
    torch.testing.assert_close(corrupted[2], t * x[2] + (1 - t) * noise[2])
    torch.testing.assert_close(velocity, x - noise)


def test_target_is_the_derivative_of_the_path():
    flow = FlowMatching(1001)
    x, noise = torch.randn(1, 3, 2, 2).double(), torch.randn(1, 3, 2, 2).double()
    (before, velocity), (after, _) = (flow.corrupt(x, noise, torch.tensor([k])) for k in (300, 301))
    torch.testing.assert_close((after - before) * 1000, velocity, atol=1e-3, rtol=1e-3)


def test_steps_and_times_agree():
    flow = FlowMatching(1000)
    x, noise = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    by_step, _ = flow.corrupt(x, noise, torch.tensor([250]))
    by_time, _ = flow.corrupt(x, noise, torch.tensor([250 / 999]))
    torch.testing.assert_close(by_step, by_time)


def test_sample_takes_equal_euler_steps_from_0_to_1():
    times = []

    def velocity(x, t):
        times.append(float(t))
        return 0.4 * x + t

    x = torch.full((1, 3, 1, 1), -0.6)
    sample = FlowMatching().sample(velocity, x, num_steps=200)
    expected = x.double()
    for k in range(200):
        expected = expected + (0.4 * expected + k / 200) / 200
    torch.testing.assert_close(sample.double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(times), torch.arange(200) / 200)


@pytest.mark.parametrize("num_steps", [1, 7, 200])
def test_euler_equals_torchdiffeq(num_steps):
    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)

    def velocity(x, t):
        return torch.sin(3 * x) - 0.5 * x * t

    path = odeint(lambda t, x: velocity(x, t.float()), noise, times, method="euler")
    sample = FlowMatching().sample(velocity, noise, num_steps)
    assert torch.equal(sample, path[-1].clamp(-1, 1))


def test_at_least_one_step_is_required():
    with pytest.raises(UserError, match=r"steps=0: .* at least 1"):
        FlowMatching().sample(lambda x, t: x, torch.zeros(1, 3, 1, 1), num_steps=0)
