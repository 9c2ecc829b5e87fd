"""scripts/prepare_ffhq.py: a complete zip in the right order, or an error of one line."""

import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from dpi.data import Folder

COUNT = 300


@pytest.fixture
def thumbnails(tmp_path) -> Path:
    """Images of 128x128 in the layout of FFHQ's thumbnails; image i has the constant color i."""
    for i in range(COUNT):
        path = tmp_path / "thumbnails128x128" / f"{i // 100:05d}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 128), (i % 256, i // 256, 0)).save(path)
    return tmp_path / "thumbnails128x128"


def assert_complete(out: Path, left: Sequence[Path] = ()) -> None:
    images = Folder(out, 64)
    assert images.names[0] == "00000/img00000000.png" and len(images) == COUNT
    for i in (0, 1, 255, 256, COUNT - 1):
        assert (images[i] == np.array([i % 256, i // 256, 0]).reshape(3, 1, 1)).all()
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
    assert [path for path in out.parent.iterdir() if path.is_dir()] == [*left]


def test_resumes_after_being_killed(command, thumbnails, tmp_path):
    out = tmp_path / "data/ffhq64.zip"
    script, options = "scripts/prepare_ffhq.py", ["--out", str(out), "--count", str(COUNT)]
    process = subprocess.Popen([sys.executable, ROOT / script, thumbnails, *options])
    while process.poll() is None and len(list(out.parent.glob("*.partial/*.png"))) < 20:
        time.sleep(0.001)
    process.kill()
    process.wait()
    (partial,) = out.parent.glob("*.partial")
    assert not out.exists() and list(partial.glob("*.png"))

    other = shutil.copytree(thumbnails, tmp_path / "other")  # resumes its own images alone
    command(script, str(other), *options)
    assert_complete(out, [partial])
    out.unlink()

    assert "300 images of 64x64" in command(script, str(thumbnails), *options).out
    assert_complete(out)
    assert "already exists" in command(script, str(thumbnails), *options).out
