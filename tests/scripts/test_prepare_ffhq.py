"""scripts/prepare_ffhq.py: a complete zip in the right order, or an error of one line."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpi.data import Folder

ROOT = Path(__file__).parents[2]
COUNT = 300


@pytest.fixture
def thumbnails(tmp_path) -> Path:
    """Images of 128x128 in the layout of FFHQ's thumbnails; image i has the constant color i."""
    for i in range(COUNT):
        path = tmp_path / "thumbnails128x128" / f"{i // 100:05d}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 128), (i % 256, i // 256, 0)).save(path)
    return tmp_path / "thumbnails128x128"


def start(source: Path, out: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/prepare_ffhq.py", source, "--out", out, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_complete(out: Path, left: Sequence[Path] = ()) -> None:
    images = Folder(out, 64)
    assert images.names[0] == "00000/img00000000.png" and len(images) == COUNT
    for i in (0, 1, 255, 256, COUNT - 1):
        assert (images[i] == np.array([i % 256, i // 256, 0]).reshape(3, 1, 1)).all()
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
    assert [path for path in out.parent.iterdir() if path.is_dir()] == [*left]


def test_resumes_after_being_killed(thumbnails, tmp_path):
    out = tmp_path / "data/ffhq64.zip"
    process = start(thumbnails, out, "--count", str(COUNT))
    while process.poll() is None and len(list(out.parent.glob("*.partial/*.png"))) < 20:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (partial,) = out.parent.glob("*.partial")
    written = {p.name: p.stat().st_mtime_ns for p in partial.glob("*.png")}
    assert not out.exists() and written

    other = tmp_path / "other"  # resumes its own images alone
    shutil.copytree(thumbnails, other)
    process = start(other, out, "--count", str(COUNT))
    assert process.wait() == 0
    assert_complete(out, [partial])
    out.unlink()

    process = start(thumbnails, out, "--count", str(COUNT))
    output, _ = process.communicate()
    assert process.returncode == 0 and "300 images of 64x64" in output
    assert_complete(out)

    process = start(thumbnails, out, "--count", str(COUNT))
    assert "already exists" in process.communicate()[0] and process.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [([], "300 images, not 70000"), (["--count", "299"], "not 299")],
)
def test_an_incomplete_data_set_raises(thumbnails, tmp_path, options, message):
    process = start(thumbnails, tmp_path / "out.zip", *options)
    _, err = process.communicate()
    assert process.returncode == 1 and err.startswith("error: ") and message in err
    assert err.count("\n") == 1 and not (tmp_path / "out.zip").exists()


def test_a_missing_source_raises(tmp_path):
    process = start(tmp_path / "nowhere", tmp_path / "out.zip")
    _, err = process.communicate()
    assert process.returncode == 1 and "nowhere" in err and err.count("\n") == 1
