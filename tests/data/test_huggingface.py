"""data=huggingface: a data set of the package datasets is trained on, or what is missing named."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpi.data import HuggingFace
from dpi.errors import UserError


def pixels(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)


def dataset(count: int = 20, first: int = 0):
    """A data set with a column of images."""
    datasets = pytest.importorskip("datasets")
    rows = range(first, first + count)
    columns = {"image": [Image.fromarray(pixels(i)) for i in rows], "label": list(rows)}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def saved(tmp_path) -> Path:
    dataset().save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_images_are_those_that_were_saved(saved, monkeypatch):
    source = HuggingFace(str(saved), 8)
    assert len(source) == 20
    for i in (0, 7, 19):
        assert np.array_equal(source[i], pixels(i).transpose(2, 0, 1))
    assert HuggingFace(str(saved), 4, image_channels=1, convert=True)[0].shape == (1, 4, 4)
    both = pytest.importorskip("datasets").DatasetDict({"a": dataset(3), "b": dataset(2, first=3)})
    both.save_to_disk(saved.parent / "both")
    source = HuggingFace(str(saved.parent / "both"), 8, split="b")
    assert len(source) == 2 and np.array_equal(source[0], pixels(3).transpose(2, 0, 1))
    with pytest.raises(UserError, match=r"image 3 of .* is not L but RGB"):
        HuggingFace(str(saved), 8, image_channels=1)[3]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[data\]'"):
        HuggingFace(str(saved), 8)


def test_the_fingerprint_is_of_the_content(saved, tmp_path):
    before = HuggingFace(str(saved), 8).fingerprint
    assert HuggingFace(str(saved.rename(tmp_path / "moved")), 8).fingerprint == before
    dataset().save_to_disk(tmp_path / "again")
    assert HuggingFace(str(tmp_path / "again"), 8).fingerprint == before
    assert HuggingFace(str(tmp_path / "again"), 4).fingerprint != before
    dataset(19).save_to_disk(tmp_path / "fewer")
    dataset().select([1, 0, *range(2, 20)]).save_to_disk(tmp_path / "other order")
    for name in ("fewer", "other order"):
        assert HuggingFace(str(tmp_path / name), 8).fingerprint != before


def test_a_folder_of_files_is_identified_by_their_contents(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.fromarray(pixels(i)).save(tmp_path / f"images/{i}.png")
    source = HuggingFace(str(tmp_path / "images"), 8)
    assert len(source) == 4 and np.array_equal(source[2], pixels(2).transpose(2, 0, 1))
    os.utime(tmp_path / "images/3.png", ns=(0, 0))
    copied = HuggingFace(str(tmp_path / "images"), 8)
    assert copied.fingerprint == source.fingerprint
    Image.fromarray(pixels(5)).save(tmp_path / "images/3.png")
    assert HuggingFace(str(tmp_path / "images"), 8).fingerprint != source.fingerprint
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"
    (tmp_path / "images/0.png").write_text(eps)
    with pytest.raises(UserError, match=r"image 0 of .* cannot be read.*: it is no PNG"):
        HuggingFace(str(tmp_path / "images"), 8)[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"column": "label"}, r"data\.column=label: the columns of images are image"),
        ({"split": "test"}, r"data\.split=test is none of train"),
        ({"subset": "x"}, r"has no data\.subset"),
    ],
)
def test_what_cannot_be_used_is_one_line(saved, options, said):
    with pytest.raises(UserError, match=said) as error:
        HuggingFace(str(saved), 8, **options)
    assert "\n" not in str(error.value)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("path", ["pandas", "here", "./here/pickles.pkl", "hf://a/b/c"])
def test_pickles_are_not_opened(tmp_path, monkeypatch, path):
    """`datasets` has a reader of them, named pandas."""
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    for folder in ("here", "pandas"):
        Path(folder).mkdir()
        Path(folder, "pickles.pkl").write_bytes(pickle.dumps(Hostile()))
    Path("train.pkl").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError) as error:
        HuggingFace(path, 8)
    assert not Path("owned").exists() and "\n" not in str(error.value)


def test_a_data_set_that_is_nowhere_is_one_line(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"data\.path=nobody/nothing: ") as error:
        HuggingFace("nobody/nothing", 8)
    assert "\n" not in str(error.value)


def test_a_run_on_it(command, tiny, saved):
    words = [w for w in tiny if not w.startswith(("data=", "data.count="))]
    words += ["data=huggingface", f"data.path={saved}", "run=run"]
    done = command("train.py", *words)
    assert done.status == 0 and "12 images, 8 held out" in done.out, done.err
    saved.rename("elsewhere")
    evaluate = ["run=run", "eval=objective", "eval.objective.pictures=4", "effort.scalars=4"]
    evaluate += ["accelerator=cpu", "data_path=elsewhere"]
    done = command("evaluate.py", *evaluate)
    said = "dpi.data.HuggingFace, which may run other code or download"
    assert done.status == 1 and said in done.err
    done = command("evaluate.py", *evaluate, "trust=true")
    assert done.status == 0, done.err
