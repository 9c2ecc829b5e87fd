"""scripts/near_duplicates.py: groups of images that differ little, by name."""

import os
import runpy
import zipfile

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from dpi.data import Folder, read_duplicates

SCRIPT = "scripts/near_duplicates.py"


@pytest.fixture
def near_duplicates(monkeypatch):
    """The function, in blocks of seven images."""
    function = runpy.run_path(str(ROOT / SCRIPT))["near_duplicates"]
    monkeypatch.setitem(function.__globals__, "BLOCK", 7)
    return function


def test_groups_are_those_of_all_differences(near_duplicates):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 250, (30, 3, 4, 4))
    chain = (images[3] + 3, images[3] + 6)  # the last is near the first through the one between
    images[[28, 11]] = chain
    images[5] = images[6]
    images[20] = images[21] + 5
    found = [group.tolist() for group in near_duplicates(images.astype(np.uint8), 4.0)]
    assert found == [[3, 11, 28], [5, 6]]
    found = [group.tolist() for group in near_duplicates(images.astype(np.uint8), 5.01)]
    assert found == [[3, 11, 28], [5, 6], [20, 21]]
    assert near_duplicates(images[:3].astype(np.uint8), 4.0) == []


def test_the_list_names_the_images_of_a_zip(command, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3))
    pixels[10] = pixels[9] * 0.99
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for i, image in enumerate(pixels.astype(np.uint8)):
            Image.fromarray(image).resize((32, 32)).save(tmp_path / "a.png")
            archive.write(tmp_path / "a.png", f"0/{i:02} x.png")
    done = command(SCRIPT, "faces.zip", "list.txt", "--image-size", "8")
    assert done.out == "list.txt: groups 1, images 2 of 12\n"
    assert (tmp_path / "list.txt").read_text() == "0/09 x.png\t0/10 x.png\n"
    assert read_duplicates(tmp_path / "list.txt", Folder(tmp_path / "faces.zip", 8)) == [[9, 10]]


def test_names_may_hold_any_bytes(command, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for name in (os.fsdecode(b"a\xff.png"), "b\r.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    command(SCRIPT, "faces", "list.txt", "--image-size", "8")
    assert read_duplicates(tmp_path / "list.txt", Folder(folder, 8)) == [[0, 1]]


def test_images_that_cannot_be_used_are_left_out(command, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, mode in (("a.png", "RGB"), ("b.png", "RGB"), ("grey.png", "L")):
        Image.new(mode, (8, 8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    done = command(SCRIPT, "faces", "list.txt", "--image-size", "8")
    assert "left out 1 that cannot be used" in done.err
    assert (tmp_path / "list.txt").read_text() == "a.png\tb.png\tgrey.png\n"
    images = Folder(folder, 8, skip_broken=True)  # and of those that it names, without the grey one
    assert read_duplicates(tmp_path / "list.txt", images) == [[0, 1]]
