"""The recipes run and do what they say; so does every block of docs/RECIPES.md."""

import math
import re
from types import ModuleType

import pytest
import torch
from conftest import ROOT, module
from torch import nn

from dpi.interpolation import Range, interpolate

DOCUMENT = ROOT / "docs/RECIPES.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def recipe(name: str) -> ModuleType:
    return module(f"examples/recipes/{name}.py")


class Recorded(nn.Module):
    """Passes everything on, and keeps the scalars."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x, s, *args, **kwargs):
        self.seen.append(torch.as_tensor(s).detach().clone())
        return self.net(x, s, *args, **kwargs)


def test_edm_samples_approach_the_data():
    before, after = recipe("edm").main(steps=400)
    assert after < 0.4 * before


def test_edm_preconditioning_and_schedule():
    edm = recipe("edm")
    denoiser = edm.Denoiser(nn.Linear(2, 2))
    x, sigma = torch.randn(5, 2), torch.tensor([0.002, 0.1, 1, 10, 80])
    rows = [denoiser(x[i : i + 1], sigma[i]) for i in range(5)]
    torch.testing.assert_close(denoiser(x, sigma), torch.cat(rows))
    # At the least noise the denoiser is the identity, whatever the network.
    torch.testing.assert_close(denoiser(x, sigma[0]), x, atol=0.02, rtol=0.02)
    denoiser.net = Recorded(denoiser.net)
    edm.sample(denoiser, torch.randn(3, 2))
    seen = torch.stack(denoiser.net.seen)
    assert len(seen) == 2 * 18 - 1
    assert seen[0] == pytest.approx(80) and seen[-1] == pytest.approx(0.002)


def test_edm_draws_beyond_the_range_are_clamped_with_their_noise(monkeypatch):
    edm = recipe("edm")
    seen = []

    def denoiser(x, sigma):
        seen.append((x, sigma))
        return x

    # Normal deviates of +-9 for sigma, and 1 for the noise.
    monkeypatch.setattr(torch, "randn", lambda n: torch.tensor([9.0, -9.0]))
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    edm.training_loss(denoiser, torch.zeros(2, 2))
    [(noisy, sigma)] = seen
    torch.testing.assert_close(sigma, torch.tensor([80, 0.002]))
    torch.testing.assert_close(noisy, sigma[:, None].expand(2, 2))
    edm.Denoiser(nn.Linear(2, 2))(noisy, sigma)


def test_flow_samples_approach_the_data_and_return():
    noise, samples, back, difference = recipe("flow_torchdiffeq").main(steps=400).values()
    assert samples < 0.5 * noise
    assert back < 0.01
    assert difference < 1e-5, "the two directions are the same network"


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0)])
def test_dopri5_stays_in_range_with_step_t_and_leaves_it_without(start, end):
    flow = recipe("flow_torchdiffeq")
    net = Recorded(flow.network(Range(0, 1)))
    flow.solve(net, torch.randn(20, 2), start, end)
    seen = torch.stack(net.seen)
    assert seen.is_floating_point() and seen.dim() == 1
    assert seen.min() >= -1e-6 and seen.max() <= 1 + 1e-6
    with pytest.raises(ValueError, match="must be in"):
        flow.odeint(lambda t, x: net(x, t), torch.randn(20, 2), torch.tensor([start, end]))


def test_schedulers_of_diffusers_sample():
    noise, *samples = recipe("diffusers_schedulers").main(steps=25, num_steps=6).values()
    assert len(samples) == 3
    assert max(samples) < 0.8 * noise


@pytest.mark.parametrize(
    ("name", "last", "floats", "ends"),
    [
        ("EulerDiscrete", 999, True, (999, 0)),
        ("HeunDiscrete", 999, True, (999, 0)),
        ("DDIM", 999, False, (960, 0)),
        ("DPMSolverMultistep", 999, False, (999, 40)),
        ("FlowMatchEulerDiscrete", 1000, True, (1000, 1)),
    ],
)
def test_timesteps_of_schedulers_are_what_the_document_says(name, last, floats, ends):
    import diffusers

    net = interpolate(nn.Conv2d(1, 1, 1), scalar=Range(0, last))
    scheduler = getattr(diffusers, f"{name}Scheduler")()
    scheduler.set_timesteps(25)
    t = scheduler.timesteps
    assert t.is_floating_point() == floats and (t[0], t[-1]) == ends
    for value in t:
        net(torch.randn(2, 1, 4, 4), value)


def test_timesteps_of_edm_are_in_the_documents_range():
    import diffusers

    found = re.search(r"Range\(math[^`]*\)", DOCUMENT.read_text())
    scalar = eval(found.group(), {"math": math, "Range": Range})
    scheduler = diffusers.EDMEulerScheduler()
    scheduler.set_timesteps(25)
    for value in scheduler.timesteps:
        interpolate(nn.Conv2d(1, 1, 1), scalar=scalar)(torch.randn(2, 1, 4, 4), value)


def test_physical_quantity_generalizes_between_measurements():
    used = recipe("physical")
    errors = used.main(steps=100)
    assert not {minutes for minutes, *_ in errors} & set(used.MEASURED.tolist())
    for _, plain, dpi in errors:
        assert dpi < 0.7 * plain


def test_physical_solution_conserves_and_smooths():
    used = recipe("physical")
    u = used.plates(4)
    torch.testing.assert_close(used.after(u, torch.tensor(0)), u, atol=1e-5, rtol=1e-5)
    later = used.after(u, torch.tensor([10.0, 10, 60, 60]))
    torch.testing.assert_close(later.mean((1, 2, 3)), u.mean((1, 2, 3)), atol=1e-5, rtol=1e-4)
    assert (later.flatten(1).std(1) < u.flatten(1).std(1)).all()


def test_meanflow_samples_in_one_step():
    noise, samples = recipe("two_scalars").main(steps=300)
    assert samples < 0.75 * noise


def test_samples_are_of_their_class():
    assert recipe("class_conditional").main() > 0.8, "at random 0.25"


def random_two_scalars() -> tuple[ModuleType, nn.Module]:
    used = recipe("two_scalars")
    torch.manual_seed(0)
    net = used.network()
    for parameter in net.parameters():  # sets and lambdas that differ
        nn.init.normal_(parameter, std=0.3)
    return used, net.double()


@pytest.mark.parametrize("mode", ["auto", "grouped"])
def test_meanflow_derivative_matches_finite_differences(mode):
    used, net = random_two_scalars()
    net.mode = mode
    z, v = torch.randn(2, 6, 2, dtype=torch.float64)
    r = torch.tensor([0.05, 0.05, 0.33, 0.5, 0.0, 0.71], dtype=torch.float64)
    t = torch.tensor([0.5, 0.9, 0.35, 0.5, 0.97, 0.72], dtype=torch.float64)
    u, du = used.u_and_derivative(net, z, r, t, v)
    h = 1e-6
    with torch.no_grad():
        expected = (net(z + h * v, r, t + h) - net(z - h * v, r, t - h)) / (2 * h)
        torch.testing.assert_close(u, net(z, r, t))
    torch.testing.assert_close(du, expected, atol=1e-7, rtol=1e-7)
    along_z = torch.func.jvp(lambda z: net(z, r, t), (z,), (v,))[1]
    assert (du - along_z).abs().max() > 1e-3, "t contributes"


def test_the_outer_scalar_comes_first():
    _, net = random_two_scalars()
    z = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(net(z, 0.2, 0.7), net.at(0.2)(z, 0.7))
    assert (net(z, 0.2, 0.7) - net(z, 0.7, 0.2)).abs().max() > 1e-3


class MyNetwork(nn.Module):
    """The network of the reader, for images."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Sequential(nn.SiLU(), nn.Conv2d(4, 4, 3, padding=1), nn.SiLU())
        self.tail = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x):
        return self.tail(self.body(self.head(x)))


def test_every_block_of_the_document_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(MyNetwork().state_dict(), "checkpoint.pt")
    r, t = torch.rand(2, 8).sort(dim=0).values
    names = {
        "MyNetwork": MyNetwork,
        "sigma_data": 0.5,
        **{name: torch.randn(8, 1, 8, 8) for name in ("x", "noise", "z", "v")},
        "r": r,
        "t": t,
        "after": lambda x, minutes: x * torch.exp(-minutes / 30.0).reshape(-1, 1, 1, 1),
        "config": small_unet(),
    }
    text = DOCUMENT.read_text()
    blocks = [(text[: m.start(1)].count("\n"), m.group(1)) for m in BLOCK.finditer(text)]
    assert len(blocks) == text.count("```python") >= 9
    for line, block in blocks:
        names |= {"r": r, "t": t}  # the sampler's t is another
        code = compile("\n" * line + block, str(DOCUMENT), "exec")
        exec(code, names)
    assert type(names["plain"]) is MyNetwork
    assert names["scores"].shape == (8, 5)


def small_unet() -> dict:
    """The arguments of the recipe's UNet2DModel."""
    net = recipe("diffusers_schedulers").network(Range(0, 999))
    return {key: value for key, value in net.theta0.config.items() if not key.startswith("_")}


def test_every_recipe_is_in_the_document():
    files = re.findall(r"\]\(\.\./(examples/recipes/[^)]*)\)", DOCUMENT.read_text())
    recipes = (ROOT / "examples/recipes").glob("*.py")
    assert {f"examples/recipes/{path.name}" for path in recipes} <= set(files)
