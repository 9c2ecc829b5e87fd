"""image_channels=: images that are not RGB are trained on, sampled and evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpi.hub import SharedModel
from dpi.runs.run import open_run

EVALS = [
    *("eval=[objective,fidelity,complexity]", "eval.objective.pictures=4", "effort.scalars=4"),
    *("eval.fidelity.n=3", "eval.fidelity.steps=2", "eval.fidelity.cache=cache"),
    "eval.fidelity.extractor=random",
]


@pytest.mark.parametrize(
    ("channels", "mode", "model"),
    [
        (1, "L", ["cond=dpi+tmap"]),
        (1, "L", ["cond=mlp", "arch=adm"]),
        (2, "LA", ["cond=sigmamap"]),
        (4, "RGBA", ["cond=film", "framework=flow"]),
    ],
)
def test_other_channels_from_end_to_end(command, own, channels, mode, model):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, channels), np.uint8)
    np.savez("it.npz", arr_0=pixels)
    words = [*own, "data=npz", "data.path=it.npz", f"image_channels={channels}", "run=run", *model]
    done = command("train.py", *words, *EVALS)
    assert "22 images, 8 held out" in done.out, done.err
    assert Image.open("run/samples/step_0000003.png").mode == mode
    rows = json.loads(Path("run/evaluation/fidelity.json").read_text())
    assert {row["metric"] for row in rows} == {"fd_random", "kid_random"}
    assert all(np.isfinite(row["value"]) for row in rows)
    done = command("sample.py", "run=run", "n=3", "steps=2", "npz=true", "out=drawn", "device=cpu")
    drawn = np.load("drawn.npz")["arr_0"]
    assert drawn.shape == (3, 8, 8, channels) and Image.open("drawn.png").mode == mode
    shared = SharedModel.from_run(open_run("run"))
    assert shared.sample(torch.randn(2, *shared.shape), 2).shape == (2, channels, 8, 8)
    assert f"torch.randn(16, {channels}, 8, 8)" in str(shared.generate_model_card())
