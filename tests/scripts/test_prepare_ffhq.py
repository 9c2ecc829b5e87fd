"""scripts/prepare_ffhq.py: the right pictures in the right order, or one line, and no torn zip."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from dpi.data import Folder

COUNT = 300


@pytest.fixture
def thumbnails(tmp_path) -> Path:
    """Flat pictures of 128x128, laid out as FFHQ's thumbnails are; number i has colour i."""
    for i in range(COUNT):
        path = tmp_path / "thumbnails128x128" / f"{i // 100:05d}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 128), (i % 256, i // 256, 0)).save(path)
    return tmp_path / "thumbnails128x128"


def start(source: Path, out: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts/prepare_ffhq.py", source, "--out", out, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_whole(out: Path) -> None:
    pictures = Folder(out, 64)
    assert pictures.names[0] == "00000/img00000000.png" and len(pictures) == COUNT
    for i in (0, 1, 255, 256, COUNT - 1):
        assert (pictures[i] == np.array([i % 256, i // 256, 0]).reshape(3, 1, 1)).all()
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
    assert not out.with_name(f"{out.name}.partial").exists()


def test_killed_and_started_again_it_makes_the_whole_set(thumbnails, tmp_path):
    out = tmp_path / "data/ffhq64.zip"
    process = start(thumbnails, out, "--count", str(COUNT))
    partial = out.with_name("ffhq64.zip.partial")
    while process.poll() is None and len(list(partial.glob("*.png"))) < 20:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in partial.glob("*.png")}
    assert not out.exists() and kept

    process = start(thumbnails, out, "--count", str(COUNT))
    said, _ = process.communicate()
    assert process.returncode == 0 and "300 pictures of 64x64" in said
    assert_whole(out)

    process = start(thumbnails, out, "--count", str(COUNT))
    assert "is there already" in process.communicate()[0] and process.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "300 pictures, not 70000"), (["--count", "299"], "not 299")],
)
def test_an_incomplete_set_is_told(thumbnails, tmp_path, words, said):
    process = start(thumbnails, tmp_path / "out.zip", *words)
    _, err = process.communicate()
    assert process.returncode == 1 and err.startswith("error: ") and said in err
    assert err.count("\n") == 1 and not (tmp_path / "out.zip").exists()


def test_a_source_that_is_not_there_is_told(tmp_path):
    process = start(tmp_path / "nowhere", tmp_path / "out.zip")
    _, err = process.communicate()
    assert process.returncode == 1 and "nowhere" in err and err.count("\n") == 1
