"""The gallery shows what is defined, and says what is not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS, ROOT
from PIL import Image


@pytest.fixture
def gallery(monkeypatch, tmp_path, tiny):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.chdir(tmp_path)
    import gallery

    monkeypatch.setattr(gallery, "SETTINGS", [*tiny[2:], f"hydra.searchpath=[file://{CONFIGS}]"])
    columns = {"σ map": ("drunet", "sigmamap"), "DPI": ("drunet", "dpi")}
    monkeypatch.setattr(gallery, "COLUMNS", columns)
    yield gallery
    del sys.modules["gallery"]


def test_cells_are_drawn_but_for_what_is_excluded(gallery, tmp_path):
    assert gallery.trained("flow", "drunet", "sigmamap") is None
    gallery.draw(tmp_path / "gallery.png")
    pixels = np.asarray(Image.open(tmp_path / "gallery.png").convert("RGB")).astype(int)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 3
    colourful = [
        [np.ptp(row[:, i * width : (i + 1) * width], axis=-1).max() > 20 for i in range(3)]
        for row in (pixels[:height], pixels[height:])
    ]
    assert colourful == [[True, True, True], [False, True, True]]
    assert len(list(Path("outputs").glob("avatars-*"))) == 3
