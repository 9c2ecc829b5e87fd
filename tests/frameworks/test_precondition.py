"""Preconditioning is the parameterization that it says it is, in training and in sampling."""

import pytest
import torch

from dpi.frameworks import FlowMatching, VPDiffusion, loss, predict

FRAMEWORKS = [VPDiffusion, FlowMatching]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_network_predicts_a_quantity_of_unit_variance_that_x_does_not_tell(framework):
    """For data of unit variance: target = c_skip x_s + c_out u, u uncorrelated with x_s."""
    framework = framework(precondition=True)
    torch.manual_seed(0)
    x, noise = torch.randn(2, 1, 3, 64, 64)
    x, noise = x.expand(4, -1, -1, -1), noise.expand(4, -1, -1, -1)
    s = torch.tensor([0, 300, 700, 999])
    corrupted, target = framework.corrupt(x, noise, s)
    skip, out = (c.reshape(-1, 1, 1, 1) for c in framework.preconditioning(s))
    u = ((target - skip * corrupted) / out).flatten(1)
    torch.testing.assert_close(u.var(dim=1), torch.ones(4), atol=0.06, rtol=0)
    correlation = (u * corrupted.flatten(1)).mean(dim=1)
    torch.testing.assert_close(correlation, torch.zeros(4), atol=0.05, rtol=0)
    perfect = predict(framework, lambda *_: u.reshape(corrupted.shape), corrupted, s)
    torch.testing.assert_close(perfect, target, atol=1e-4, rtol=1e-4)


def test_in_diffusion_it_is_v_prediction():
    framework = VPDiffusion(precondition=True)
    x0, eps, t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([100, 800])
    abar = framework.alpha_bar[t].reshape(-1, 1, 1, 1)
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    assert loss(lambda *_: v, framework, x0, eps, t).max() < 1e-10


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("position", [0, 1])
def test_samples_are_those_of_the_network_that_predicts_the_target(framework, position):
    """The same prediction, written with and without preconditioning, gives the same samples."""
    plain, conditioned = framework(), framework(precondition=True)
    solver = framework.solvers[position]

    def network(x, s):
        return 0.5 * torch.sin(x)

    def remainder(x, s):
        skip, out = (c.reshape(-1, 1, 1, 1) for c in conditioned.preconditioning(s))
        return (network(x, s) - skip * x) / out

    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = plain.sample(network, noise, 10, solver)
    found = conditioned.sample(remainder, noise, 10, solver)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
