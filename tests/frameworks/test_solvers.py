"""All solvers: their results, the default, invalid arguments, and the packages they need."""

import sys

import pytest
import torch

from dpi.data import to_uint8
from dpi.errors import UserError
from dpi.frameworks import FlowMatching, VPDiffusion
from dpi.frameworks.draw import network_evaluations

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers

FRAMEWORKS = {"diffusion": VPDiffusion(), "flow": FlowMatching()}
SOLVERS = [(name, solver) for name, framework in FRAMEWORKS.items() for solver in framework.solvers]


def optimal(name: str):
    """The optimal g(x, s) for data x0 ~ N(0, 1/4) in every element."""
    diffusion = FRAMEWORKS["diffusion"]

    def noise(x, t):
        step = t * 999 if t.is_floating_point() else t.double()
        abar = torch.lerp(
            diffusion.alpha_bar[int(step.floor())],
            diffusion.alpha_bar[int(step.ceil())],
            step.frac(),
        )
        return (1 - abar).sqrt() / (abar / 4 + 1 - abar) * x

    def velocity(x, t):
        return (t / 4 - (1 - t)) / (t**2 / 4 + (1 - t) ** 2) * x

    return noise if name == "diffusion" else velocity


@pytest.mark.parametrize(("name", "solver"), SOLVERS)
def test_solvers_transport_noise_to_the_data_distribution(name, solver):
    noise = torch.linspace(-1.5, 1.5, 12).reshape(1, 3, 2, 2)
    sample = FRAMEWORKS[name].sample(optimal(name), noise, 100, solver)
    torch.testing.assert_close(sample, noise / 2, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("num_steps", [4, 10, 200])
@pytest.mark.parametrize("solver", FRAMEWORKS["diffusion"].solvers)
def test_the_noise_of_a_constant_image_is_removed_completely(solver, num_steps):
    diffusion = FRAMEWORKS["diffusion"]
    sigmas = ((1 - diffusion.alpha_bar) / diffusion.alpha_bar).sqrt().double()

    def noise(x, t):
        step = torch.as_tensor(t * 999 if t.is_floating_point() else t).double()
        low, high = sigmas[int(step.floor())], sigmas[int(step.ceil())]
        sigma = torch.lerp(low.log(), high.log(), step.frac()).exp()
        return (((1 + sigma**2).sqrt() * x - 0.3) / sigma).float()

    sample = diffusion.sample(noise, torch.randn(1, 3, 2, 2), num_steps, solver)
    torch.testing.assert_close(sample, torch.full_like(sample, 0.3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", ["DEISMultistep", "DPMSolverMultistep", "UniPCMultistep"])
def test_as_many_steps_as_give_nan_are_refused(solver):
    with pytest.raises(UserError, match=f"steps=1000: solver={solver} gives NaN"):
        network_evaluations(FRAMEWORKS["diffusion"], 1000, solver)
    assert network_evaluations(FRAMEWORKS["diffusion"], 999, solver) >= 999


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_samples_that_are_not_finite_are_refused(value):
    with pytest.raises(UserError, match="samples are not finite"):
        to_uint8(torch.tensor([0.0, value]).reshape(2, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "solver", "num_steps", "message"),
    [
        ("diffusion", "magic", 10, "solver=magic: unknown .*; give one of DDIM, .*UniPCMultistep"),
        ("flow", "magic", 10, "solver=magic: unknown .*; give one of euler, .*rk4"),
        ("diffusion", "PNDM", 2, "steps=2: not supported by PNDM .*; give another"),
        ("diffusion", "PNDM", 2000, "steps=2000: .*give 1 to 1000"),
        ("diffusion", "DDIM", 0, "steps=0: .* a divisor of 1000"),
        ("diffusion", "DDIM", 3, "steps=3: .* a divisor of 1000"),
        ("diffusion", "DDIM", 2000, "steps=2000: .* a divisor of 1000"),
        ("flow", "euler", 0, "steps=0: .* at least 1"),
    ],
)
def test_unknown_solvers_and_unsupported_steps_raise(name, solver, num_steps, message):
    with pytest.raises(UserError, match=message):
        FRAMEWORKS[name].sample(optimal(name), torch.zeros(1, 3, 1, 1), num_steps, solver)


@pytest.mark.parametrize(
    ("name", "solver", "package"),
    [("diffusion", "UniPCMultistep", "diffusers"), ("flow", "rk4", "torchdiffeq")],
)
def test_a_missing_package_raises(monkeypatch, name, solver, package):
    monkeypatch.setitem(sys.modules, package, None)
    noise = torch.zeros(1, 3, 1, 1)
    with pytest.raises(UserError, match=rf"solver={solver}: .* pip install 'dpi\[solvers\]'"):
        FRAMEWORKS[name].sample(optimal(name), noise, 10, solver)
    FRAMEWORKS[name].sample(optimal(name), noise, 10)  # the paper's sampler needs no package
