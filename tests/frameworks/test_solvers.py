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
