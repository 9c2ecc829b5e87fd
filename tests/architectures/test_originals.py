"""Our networks compute what the public originals compute, and have as many parameters."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from formula import weights

from dpi.architectures import ADM, DRUNet, import_dpir, import_guided_diffusion

REFERENCE = Path(__file__).parent / "reference"


@pytest.mark.parametrize(
    ("network", "settings", "count"),
    [
        (DRUNet, {}, 63_901_056),
        (DRUNet, {"in_channels": 4}, 63_901_632),
        (ADM, {}, 60_867_075),
        (ADM, {"in_channels": 4}, 60_868_227),
        (ADM, {"time_embedding": True}, 68_156_163),
    ],
)
def test_parameter_counts_are_the_papers(network, settings, count):
    with torch.device("meta"):
        net = network(**settings)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("name", ["adm_deep", "adm_additive", "drunet"])
def test_outputs_are_the_originals(name):
    with np.load(REFERENCE / f"{name}.npz") as file:
        reference = dict(file)
    theirs = weights(json.loads(str(reference["shapes"])))
    settings = json.loads(str(reference["settings"]))
    x, y = torch.from_numpy(reference["x"]), torch.from_numpy(reference["y"])
    if name == "drunet":
        net = DRUNet(**settings).eval()
        net.load_state_dict(import_dpir(theirs))
        ours = net(x)
    else:
        net = ADM(time_embedding=True, **settings).eval()
        net.load_state_dict(import_guided_diffusion(theirs))
        ours = net(x, torch.from_numpy(reference["t"]))
    torch.testing.assert_close(ours, y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("importer", "name"),
    [
        (import_guided_diffusion, "label_emb.weight"),
        (import_guided_diffusion, "input_blocks.3.0.op.weight"),
        (import_dpir, "m_down1.0.res.0.bias"),
    ],
)
def test_weights_of_other_networks_are_refused_by_name(importer, name):
    with pytest.raises(ValueError, match=name):
        importer({name: None})


@pytest.mark.parametrize("importer", [import_guided_diffusion, import_dpir])
def test_incomplete_weights_are_refused(importer):
    with pytest.raises(ValueError, match="missing"):
        importer({})
