"""The input and output of the conditionings, and the combinations that the paper excludes."""

import functools

import pytest
import torch
from conftest import ROOT
from torch import nn

import dpi.conditioning
from dpi.architectures import ADM, DRUNet
from dpi.conditioning import DPI, MLP, Compose, FiLM, Mixture, NCSNv2, SigmaMap, Sinusoidal, TMap
from dpi.described import described
from dpi.errors import Excluded
from dpi.frameworks import FlowMatching, VPDiffusion


class Recorder(nn.Module):
    """Records its input and returns its first three channels times two."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.in_channels = in_channels

    def forward(self, x):
        assert x.shape[1] == self.in_channels
        self.input = x
        return self.weight * x[:, :3]


small_adm = functools.partial(
    ADM,
    image_size=8,
    base_channels=32,
    channel_mult=(1, 1),
    attention_resolutions=(4,),
    head_channels=16,
)
small_drunet = functools.partial(DRUNet, channels=(8, 16), num_blocks=1)


@pytest.mark.parametrize("framework", [VPDiffusion(), FlowMatching()])
def test_t_map_is_a_channel_of_t_over_T(framework):
    g = TMap(Recorder, framework)
    x = torch.randn(3, 3, 4, 4)
    g(x, torch.tensor([0, 250, 999]))
    assert torch.equal(g.network.input[:, :3], x)
    expected = torch.tensor([0.0, 0.25, 0.999]).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    torch.testing.assert_close(g.network.input[:, 3:], expected)


def test_sinusoidal_map_is_cosines_and_sines_of_the_step():
    g = Sinusoidal(Recorder, FlowMatching(), channels=4)
    g(torch.randn(2, 3, 4, 4), torch.tensor([0, 250]))
    t, slow = torch.tensor([0.0, 250.0]), 10000**-0.5
    expected = torch.stack([t.cos(), (t * slow).cos(), t.sin(), (t * slow).sin()], dim=1)
    torch.testing.assert_close(g.network.input[:, 3:, 1, 2], expected, rtol=1e-4, atol=1e-4)


def test_sigma_map_is_a_channel_of_the_noise_level():
    diffusion = VPDiffusion()
    g = SigmaMap(Recorder, diffusion)
    g(torch.randn(2, 3, 4, 4), torch.tensor([333, 999]))
    channel = g.network.input[:, 3, 0, 0]
    torch.testing.assert_close(channel, torch.tensor([1.4624, 157.41]), rtol=1e-3, atol=0)


def test_ncsnv2_has_the_loss_of_the_original():
    """sigma^2 / 2 || score + eps / sigma ||^2, where the score is the network over sigma."""
    diffusion = VPDiffusion()
    g = NCSNv2(Recorder, diffusion)
    x0, eps, t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([10, 700])
    x, _ = diffusion.corrupt(x0, eps, t)
    sigma = (1 - diffusion.alpha_bar[t]).sqrt().reshape(-1, 1, 1, 1)
    score = g.network(x) / sigma
    original = 0.5 * (sigma**2 * (score + eps / sigma) ** 2).mean()
    torch.testing.assert_close((g(x, t) - eps).square().mean() / 2, original)


def randomize(network: nn.Module) -> nn.Module:
    """Perturb every parameter, so that no layer is zero and theta1 differs from theta0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval()


@pytest.mark.parametrize(
    ("cond", "network", "framework"),
    [
        (DPI, small_drunet, FlowMatching()),
        (DPI, small_adm, VPDiffusion()),
        (TMap, small_drunet, VPDiffusion()),
        (TMap, small_adm, FlowMatching()),
        (Sinusoidal, small_drunet, VPDiffusion()),
        (SigmaMap, small_adm, VPDiffusion()),
        (NCSNv2, small_drunet, VPDiffusion()),
        (MLP, small_adm, VPDiffusion()),
        (MLP, small_adm, FlowMatching()),
        (FiLM, small_drunet, VPDiffusion()),
        (FiLM, small_adm, FlowMatching()),
        (Mixture, small_adm, VPDiffusion()),
        (functools.partial(Compose, dpi=DPI, tmap=TMap), small_drunet, VPDiffusion()),
        (functools.partial(Compose, film=FiLM, mlp=MLP), small_adm, FlowMatching()),
        (functools.partial(Compose, mixture=Mixture, film=FiLM), small_drunet, FlowMatching()),
        (functools.partial(Compose, dpi=DPI, film=FiLM, tmap=TMap), small_drunet, VPDiffusion()),
    ],
)
def test_a_batch_equals_its_images_one_at_a_time(cond, network, framework):
    g = randomize(cond(network=network, framework=framework)).double()
    x, s = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([700, 3, 3, 999])
    alone = torch.cat([g(x[i : i + 1], s[i]) for i in range(4)])
    torch.testing.assert_close(g(x, s), alone, atol=1e-5, rtol=1e-5)
    shared = torch.cat([g(x[i : i + 1], torch.tensor(500)) for i in range(4)])
    torch.testing.assert_close(g(x, torch.tensor(500)), shared, atol=1e-5, rtol=1e-5)
    first, last = (g(x, torch.tensor(t)) for t in (0, 999))
    assert torch.allclose(first, last, atol=1e-5) == (cond is NCSNv2), "does it depend on s?"


def test_the_layers_that_are_conditioned_can_be_chosen():
    g = FiLM(small_drunet, VPDiffusion(), include=["*.conv1"])
    blocks = [m for m in g.network.modules() if hasattr(m, "conv1")]
    assert list(g.widths.values()) == [block.conv1.out_channels for block in blocks]
    with pytest.raises(ValueError, match="'attention' matches none of the linear"):
        FiLM(small_drunet, VPDiffusion(), include=["attention"])
    names = DPI(small_drunet, VPDiffusion(), include=["*.conv1.*"]).doubled
    assert names and all("conv1" in name for name in names)


@pytest.mark.parametrize("cond", [FiLM, DPI, Mixture])
def test_a_pretrained_network_is_kept_at_the_start(cond):
    torch.manual_seed(0)
    network, x = small_drunet().eval(), torch.randn(3, 3, 8, 8)
    expected = network(x)
    g = cond(lambda: network, VPDiffusion()).eval()
    torch.testing.assert_close(g(x, torch.tensor([0, 500, 999])), expected)


def test_a_composition_is_one_conditioning_of_another():
    torch.manual_seed(0)
    g = randomize(Compose(small_drunet, VPDiffusion(), dpi=DPI, tmap=TMap))
    x, s = torch.randn(2, 3, 8, 8), torch.tensor([40, 900])
    expected = [g.network.at(s[i])(x[i : i + 1], s[i]) for i in range(2)]
    torch.testing.assert_close(g(x, s), torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert isinstance(g.network.theta0, TMap)


@pytest.mark.parametrize(
    ("cond", "network", "framework", "alternative"),
    [
        (MLP, small_drunet, VPDiffusion(), "arch=adm"),
        (SigmaMap, small_adm, FlowMatching(), "cond=tmap"),
        (NCSNv2, small_drunet, FlowMatching(), "cond=dpi"),
    ],
)
def test_excluded_combinations_raise_and_name_alternatives(cond, network, framework, alternative):
    with pytest.raises(Excluded, match=alternative) as error:
        cond(network=network, framework=framework)
    assert "\n" not in str(error.value)


def test_a_conditioning_is_a_file_a_configuration_and_a_name_in_the_package():
    """Labels, --help and what a downloaded configuration may name follow from these."""
    names = {path.stem for path in (ROOT / "configs/cond").glob("*.yaml")}
    assert set(described("conditioning")) == names
    others = {"compose", "conditioning"}
    assert {name.lower() for name in dpi.conditioning.__all__} - others == names
    assert described("conditioning")["sigmamap"][0] == "σ map"
