"""data=torchvision: a data set of torchvision is trained on, or what is missing is named."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpi.data import TorchVision
from dpi.errors import UserError

datasets = pytest.importorskip("torchvision.datasets")
FAKE = {"size": 20, "image_size": [3, 12, 12]}


def image_folder(root: Path) -> Path:
    """Five images of two classes, as ImageFolder has them."""
    for i in range(5):
        path = root / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def test_images_are_torchvisions(tmp_path):
    source = TorchVision("ImageFolder", image_folder(tmp_path), 8)
    theirs = datasets.ImageFolder(tmp_path)
    assert len(source) == len(theirs) == 5
    for i in range(5):
        assert np.array_equal(source[i], np.asarray(theirs[i][0]).transpose(2, 0, 1))
    assert TorchVision("ImageFolder", tmp_path, 4)[0].shape == (3, 4, 4)
    (tmp_path / "class0/0.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(UserError, match=r"image 0 of ImageFolder cannot be read.*: it is no PNG"):
        TorchVision("ImageFolder", tmp_path, 8)[0]


def test_the_fingerprint_changes_with_the_images_and_not_with_their_place(tmp_path):
    root = image_folder(tmp_path / "here")
    before = TorchVision("ImageFolder", root, 8).fingerprint
    root = root.rename(tmp_path / "there")
    assert TorchVision("ImageFolder", root, 8).fingerprint == before
    assert TorchVision("ImageFolder", root, 4).fingerprint != before
    assert TorchVision("ImageFolder", root, 8, 1, True).fingerprint != before
    file = root / "class1/3.png"
    os.utime(file, ns=(0, 0))
    assert TorchVision("ImageFolder", root, 8).fingerprint == before
    file.write_bytes(file.read_bytes() + b" ")
    assert TorchVision("ImageFolder", root, 8).fingerprint != before
    fake = TorchVision("FakeData", tmp_path, 8, options=FAKE)
    other = TorchVision("FakeData", tmp_path, 8, options=FAKE | {"random_offset": 1})
    assert fake.fingerprint != other.fingerprint


@pytest.mark.parametrize(("dataset", "name"), [("ImageFolder", "birds"), ("CIFAR10", "CIFAR10")])
def test_a_folder_of_images_gives_its_name(command, dataset, name):
    words = ["data=torchvision", f"data.dataset={dataset}", "data.path=mine/birds"]
    done = command("train.py", *words, "--cfg=job", "--resolve", "--package=data")
    assert f"\nname: {name}\n" in done.out, done


@pytest.mark.parametrize(
    ("dataset", "options", "said"),
    [
        ("Nowhere", {}, "has no such class"),
        ("LSUN", {}, "has no such class"),
        ("VisionDataset", {}, "data.dataset=VisionDataset in"),
        ("wrap_dataset_for_transforms_v2", {}, "has no such class"),
        ("FakeData", {"colour": "red"}, "unexpected keyword argument 'colour'"),
        ("ImageFolder", {}, "nowhere"),
        ("CIFAR10", {"download": False}, "Dataset not found"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, dataset, options, said):
    with pytest.raises(UserError, match=said) as error:
        TorchVision(dataset, tmp_path / "nowhere", 8, options=options)
    assert "\n" not in str(error.value)


def test_images_of_other_modes_and_no_images_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="image 1 of FakeData is not L but RGB"):
        TorchVision("FakeData", tmp_path, 8, 1, options=FAKE)[1]
    assert TorchVision("FakeData", tmp_path, 8, 1, True, FAKE)[1].shape == (1, 8, 8)
    with pytest.raises(UserError, match="smaller than image_size=16"):
        TorchVision("FakeData", tmp_path, 16, options=FAKE)[0]
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[data\]'"):
        TorchVision("FakeData", tmp_path, 8)
