"""All solvers: their results, the default, invalid arguments, and the packages they need."""

import sys

import pytest
import torch

from dpi.errors import UserError
from dpi.frameworks import FlowMatching, VPDiffusion

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


@pytest.mark.parametrize(("name", "default"), [("diffusion", "DDIM"), ("flow", "euler")])
def test_the_default_is_the_first_solver(name, default):
    framework = FRAMEWORKS[name]
    noise = torch.randn(1, 3, 2, 2)
    assert framework.solvers[0] == default
    expected = framework.sample(optimal(name), noise, 10, default)
    assert torch.equal(framework.sample(optimal(name), noise, 10), expected)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_unknown_solvers_raise(name):
    with pytest.raises(UserError, match=r"solver=magic: unknown .*; give one of") as error:
        FRAMEWORKS[name].sample(optimal(name), torch.zeros(1, 3, 1, 1), solver="magic")
    assert ", ".join(FRAMEWORKS[name].solvers) in str(error.value)


@pytest.mark.parametrize(
    ("num_steps", "message"),
    [(2, "not supported by PNDM .*; give another"), (2000, "give 1 to 1000")],
)
def test_an_unsupported_number_of_steps_raises(num_steps, message):
    with pytest.raises(UserError, match=f"steps={num_steps}: .*{message}"):
        FRAMEWORKS["diffusion"].sample(
            optimal("diffusion"), torch.zeros(1, 3, 1, 1), num_steps, "PNDM"
        )


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
