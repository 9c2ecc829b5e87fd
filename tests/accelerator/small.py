"""Conditioned networks that take milliseconds, of random weights."""

from functools import partial

import torch
from torch import nn

from dpi.architectures import ADM, DRUNet
from dpi.conditioning import DPI, MLP, NCSNv2, SigmaMap, TMap
from dpi.frameworks import FlowMatching, Framework, VPDiffusion

drunet = partial(DRUNet, channels=(4, 8), num_blocks=1, dropout=0)
adm = partial(
    ADM,
    image_size=8,
    base_channels=16,
    channel_mult=(1, 1),
    attention_resolutions=(4,),
    head_channels=8,
    norm_groups=4,
    dropout=0,
)
FRAMEWORKS = {"diffusion": VPDiffusion, "flow": FlowMatching}
CONDITIONINGS = {
    "dpi": partial(DPI, drunet),
    "dpi-adm": partial(DPI, adm),
    "dpi-grouped": partial(DPI, drunet, mode="grouped"),
    "tmap": partial(TMap, drunet),
    "sigmamap": partial(SigmaMap, drunet),
    "ncsnv2": partial(NCSNv2, drunet),
    "mlp": partial(MLP, adm),
}
CASES = [("diffusion", name) for name in ("dpi", "dpi-grouped", "sigmamap", "ncsnv2")]
CASES += [("flow", name) for name in ("dpi-adm", "tmap", "mlp")]


def small(framework: str, conditioning: str) -> tuple[Framework, nn.Module]:
    """A framework and a network by their names; always the same weights."""
    made = FRAMEWORKS[framework]()
    torch.manual_seed(0)
    network = CONDITIONINGS[conditioning](made)
    return made, perturbed(network)


@torch.no_grad()
def perturbed(network: nn.Module) -> nn.Module:
    """Change every parameter, so that no layer is zero and the sets differ."""
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network
