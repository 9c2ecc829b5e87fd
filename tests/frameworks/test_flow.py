"""Flow matching: the straight path, its velocity, and its ODE."""

import torch

from dpi.frameworks import FlowMatching


def test_the_path_runs_from_noise_to_data():
    flow = FlowMatching(1000)
    x, noise = torch.randn(3, 3, 2, 2), torch.randn(3, 3, 2, 2)
    corrupted, velocity = flow.corrupt(x, noise, torch.tensor([0, 999, 500]))
    torch.testing.assert_close(corrupted[0], noise[0])
    torch.testing.assert_close(corrupted[1], x[1])
    t = 500 / 999
    torch.testing.assert_close(corrupted[2], t * x[2] + (1 - t) * noise[2])
    torch.testing.assert_close(velocity, x - noise)


def test_the_target_is_the_paths_derivative():
    flow = FlowMatching(1001)
    x, noise = torch.randn(1, 3, 2, 2).double(), torch.randn(1, 3, 2, 2).double()
    (before, velocity), (after, _) = (flow.corrupt(x, noise, torch.tensor([k])) for k in (300, 301))
    torch.testing.assert_close((after - before) * 1000, velocity, atol=1e-3, rtol=1e-3)


def test_sampling_takes_equal_euler_steps_over_the_whole_of_time():
    seen = []

    def velocity(x, t):
        seen.append(float(t))
        return 0.4 * x + t

    x = torch.full((1, 3, 1, 1), -0.6)
    sample = FlowMatching().sample(velocity, x, num_steps=200)
    expected = x.double()
    for k in range(200):
        expected = expected + (0.4 * expected + k / 200) / 200
    torch.testing.assert_close(sample.double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(seen), torch.arange(200) / 200)


def test_steps_and_times_meet():
    flow = FlowMatching(1000)
    x, noise = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    by_step, _ = flow.corrupt(x, noise, torch.tensor([250]))
    by_time, _ = flow.corrupt(x, noise, torch.tensor([250 / 999]))
    torch.testing.assert_close(by_step, by_time)
