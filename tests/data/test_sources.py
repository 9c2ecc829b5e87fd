"""Folder, zip, .npz and avatars return their images exactly, or name the invalid one."""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpi.data import Avatars, Folder, Npz, content, to_uint8, to_unit
from dpi.data.source import decode
from dpi.errors import UserError


def noise(i: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five 8x8 images in the folder layout of EDM, and other files."""
    root = tmp_path / "images"
    for i in range(5):
        path = root / f"0000{i // 2}" / f"img{i:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(i)).save(path)
    (root / "dataset.json").write_text(json.dumps({"labels": None}))
    (root / "00000" / "._img00000000.png").write_bytes(b"not an image")
    return root


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
    return path


def test_images_are_returned_exactly_and_sorted_by_name(folder):
    for source in (Folder(folder, 8), Folder(zipped(folder), 8)):
        assert len(source) == 5
        for i in range(5):
            assert np.array_equal(source[i], noise(i).transpose(2, 0, 1))


def test_images_are_turned_center_cropped_and_resized(tmp_path):
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be rotated clockwise
    Image.fromarray(noise(0)).save(tmp_path / "turned.png", exif=exif)
    turned, cropped = Folder(tmp_path, 8)
    assert (cropped == 200).all()
    assert (turned == np.rot90(noise(0), -1).transpose(2, 0, 1)).all()


def test_images_are_the_same_wherever_and_of_whatever_time_they_are(folder, tmp_path):
    before = Folder(folder, 8).fingerprint
    assert Folder(zipped(folder), 8).fingerprint == before
    os.utime(folder / "00000/img00000001.png", (2e9, 2e9))
    copied = shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    assert {Folder(path, 8).fingerprint for path in (folder, copied)} == {before}
    assert Folder(folder, 4).fingerprint != before
    (copied / "00001/img00000002.png").rename(copied / "00001/img00000009.png")
    Image.fromarray(noise(99)).save(folder / "00001/img00000002.png")
    assert len({before, *(Folder(path, 8).fingerprint for path in (copied, folder))}) == 3
    assert Folder(zipped(folder), 8).fingerprint == Folder(folder, 8).fingerprint


def test_a_folder_is_read_once_and_again_where_a_file_is_another(folder, tmp_path, monkeypatch):
    kept = {"cache_dir": tmp_path / "cache"}
    before = Folder(folder, 8, **kept).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(content, "_crc32", None)
        assert Folder(folder, 8, **kept).fingerprint == before
    file = folder / "00001/img00000002.png"
    stat, read = file.stat(), file.read_bytes()
    opened = Folder(folder, 8, **kept)
    assert opened.fingerprint == before
    file.write_bytes(read[:-1] + b"x")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # of equal size and time
    assert Folder(folder, 8, **kept).fingerprint != before
    with pytest.raises(UserError, match=r"img00000002\.png has changed meanwhile; run the same"):
        opened[2]
    opened = Folder(folder, 8)
    file.unlink()
    with pytest.raises(UserError, match=r"img00000002\.png is a link to nothing, or no ordinary"):
        opened[2]
    assert opened.fingerprint != before


def test_links_are_followed(folder, tmp_path):
    before = Folder(folder, 8).fingerprint
    (tmp_path / "real").mkdir()
    (folder / "00001").rename(tmp_path / "real/00001")
    (folder / "00001").symlink_to(tmp_path / "real/00001")
    assert Folder(folder, 8).fingerprint == before
    (tmp_path / "real/00001/back").symlink_to(folder)
    with pytest.raises(UserError, match=r"00001/back and .*images are one folder: remove the link"):
        Folder(folder, 8)


@pytest.mark.parametrize("target", ["real", "images/00000", "."])
def test_no_folder_is_read_twice(folder, tmp_path, target):
    (tmp_path / "real").mkdir()
    for name in ("z", "zz"):
        (folder / name).symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=r"are one folder: remove the link"):
        Folder(folder, 8)


def test_what_is_no_file_is_left_out_or_cannot_be_used(folder, tmp_path, capsys, monkeypatch):
    before = Folder(folder, 8).fingerprint
    (folder / ".#lock").symlink_to("user@host.1234")
    (folder / "gone").symlink_to("nowhere")
    (folder / "self").symlink_to("self")
    (folder / ".venv/lib").mkdir(parents=True)
    (folder / ".venv/lib64").symlink_to("lib")
    os.mkfifo(folder / "pipe.txt")
    monkeypatch.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    capsys.readouterr()
    assert Folder(folder, 8).fingerprint == before
    assert "1 .json, 1 .txt, 3 hidden, 3 without suffix" in capsys.readouterr().err
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    assert Folder(folder, 8, skip_broken=True).fingerprint == before
    source = Folder(folder, 8)
    assert source.fingerprint != before
    for i in (5, 6):
        with pytest.raises(UserError, match=r"(gone|pipe)\.png is a link to nothing, or no ordin"):
            source[i]


def test_what_is_left_out_is_counted(folder, capsys):
    for name in ("a.heic", "b.HEIC", "c.gif", "README"):
        (folder / name).touch()
    Image.fromarray(noise(5)).save(folder / "d.TIFF")
    for path in (folder, zipped(folder)):
        assert len(Folder(path, 8)) == 6
        others = "1 .gif, 2 .heic, 1 .json, 1 hidden, 1 without suffix"
        said = f"{path}: 6 images; other files are left out: {others}\n"
        assert capsys.readouterr().err == said
    with pytest.raises(UserError, match=r"no image \(\.png, .*\), but 1 \.heic"):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "a.heic").touch()
        Folder(folder, 8)


def test_images_that_cannot_be_used_are_left_out_on_request(folder, tmp_path, capsys, monkeypatch):
    before = Folder(folder, 8).fingerprint
    (folder / "00000/broken.png").write_bytes(b"no image")
    Image.fromarray(noise(0, 4, 4)).save(folder / "small.png")
    capsys.readouterr()
    how = {"skip_broken": True, "cache_dir": tmp_path / "cache"}
    for again in range(2):
        source = Folder(folder, 8, **how)
        assert source.fingerprint == before and len(list(source)) == 5, "as if they were not there"
        _, line, *bar = capsys.readouterr().err.splitlines()
        listed = re.search(r"left out 2 that cannot be used \((.*) has all\): ", line)
        reasons = json.loads(Path(listed[1]).read_text())
        assert reasons.keys() == {"00000/broken.png", "small.png"}
        assert reasons["00000/broken.png"].partition("; ")[0] in line
        assert line.endswith("small.png is 4x4, smaller than image_size=8") and not bar, again
        monkeypatch.setattr("dpi.data.folder.decode", None)  # which they are, is kept
    monkeypatch.undo()

    def fail(self: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(self))

    with monkeypatch.context() as patch, pytest.raises(UserError, match="Input/output error"):
        patch.setattr(Path, "read_bytes", fail)
        Folder(folder, 8, **how | {"cache_dir": tmp_path / "other"})
    assert not (tmp_path / "other/broken").exists(), "the disk's, which may pass"
    for path in folder.rglob("img*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of its images can be used"):
        Folder(folder, 8, **how)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("kept", [0, 20, -200])
def test_corrupt_images_raise(tmp_path, suffix, kept):
    path = tmp_path / f"truncated.{suffix}"
    Image.fromarray(noise(0, 64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=rf"truncated\.{suffix} cannot be read") as error:
        Folder(tmp_path, 8)[0]
    assert "\n" not in str(error.value)


def test_a_corrupt_image_in_a_zip_raises(folder):
    path = zipped(folder)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 8] ^= 255
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"img0000000\d\.png cannot be read"):
        list(map(Folder(path, 8).__getitem__, range(5)))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_malformed_exif_raises(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, (72, 1)
    damaged = bytearray(exif.tobytes())
    damaged[29] = 0  # the type of the second is unknown, so Pillow cannot write it again
    Image.fromarray(noise(0)).save(tmp_path / f"exif.{suffix}", exif=bytes(damaged))
    with pytest.raises(UserError, match=rf"exif\.{suffix} cannot be read as an image"):
        Folder(tmp_path, 8)[0]


def test_other_formats_are_not_opened(tmp_path):
    """Pillow gives EPS to Ghostscript."""
    (tmp_path / "eps.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(UserError, match=r"eps\.png cannot be read as an image: it is no PNG, JPEG"):
        Folder(tmp_path, 8)[0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
@pytest.mark.filterwarnings("error")
def test_the_limit_of_pixels_is_that_of_the_data_set(tmp_path, suffix, monkeypatch):
    for i in range(40):
        Image.fromarray(noise(i, 8, 16)).save(tmp_path / f"{i:02}.{suffix}")
    expected = [Folder(tmp_path, 4)[i] for i in range(40)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    few, enough = (Folder(tmp_path, 4, max_pixels=n) for n in (127, 128))
    assert all(map(np.array_equal, decode(enough), expected))
    for error in decode(few):
        assert re.search("it has 128 pixels; .*max_pixels=128", str(error))
    assert Image.MAX_IMAGE_PIXELS == 20


def test_files_that_are_too_large_raise(folder, monkeypatch):
    monkeypatch.setattr("dpi.data.folder.LARGEST", 100)
    for path in (folder, zipped(folder)):
        with pytest.raises(UserError, match=r"img00000000\.png is larger than 100 bytes"):
            Folder(path, 8)[0]


def test_a_missing_empty_or_invalid_path_raises(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist; download it"):
        Folder(tmp_path / "nowhere", 8, missing="download it")
    with pytest.raises(UserError, match=r"nowhere\.npz does not exist"):
        Npz(tmp_path / "nowhere.npz", 8)
    with pytest.raises(UserError, match="empty"):
        Folder(tmp_path, 8)
    with pytest.raises(UserError, match="'' does not exist; give data"):
        Folder("", 8)
    (tmp_path / "text.zip").write_text("not a zip")
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "text.zip", tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match=f"{odd} is neither a folder nor a valid zip"):
            Folder(odd, 8)
        with pytest.raises(UserError, match=f"{odd} is not an .npz file"):
            Npz(odd, 8)


def test_npz_returns_its_images(tmp_path):
    images = np.stack([noise(i) for i in range(3)])
    np.savez(tmp_path / "a.npz", arr_0=images)
    source = Npz(tmp_path / "a.npz", 8)
    assert len(source) == 3
    assert np.array_equal(source[2], images[2].transpose(2, 0, 1))
    np.savez(tmp_path / "b.npz", arr_0=images[::-1])
    assert Npz(tmp_path / "b.npz", 8).fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, "no array arr_0"),
        ({"arr_0": np.zeros((2, 8, 8, 3), np.float32)}, "float32"),
        ({"arr_0": np.zeros((2, 16, 16, 3), np.uint8)}, "16, 16, 3"),
        ({"arr_0": np.zeros((2, 3, 8, 8), np.uint8)}, "3, 8, 8"),
    ],
)
def test_npz_with_other_contents_raises(tmp_path, arrays, reason):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=reason):
        Npz(tmp_path / "a.npz", 8)


def test_avatars_are_functions_of_seed_and_index_and_differ():
    few, many = Avatars(3, 16), Avatars(60, 16)
    images = np.stack([many[i] for i in range(60)])
    assert len(np.unique(images, axis=0)) == 60
    assert (images.std(axis=0) > 20).mean() > 0.9, "they fill the image"
    for i in (2, 1, 0):
        assert few[i].shape == (3, 16, 16) and few[i].dtype == np.uint8
        assert np.array_equal(few[i], images[i])
    assert not np.array_equal(Avatars(3, 16, seed=1)[0], few[0])
    with pytest.raises(UserError, match="8 to 64"):
        Avatars(5, 65)


def test_pixels_become_floats_and_back():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 3, 1, 1)
    x = to_unit(images)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert np.array_equal(to_uint8(x), images.permute(0, 2, 3, 1))
    assert to_uint8(torch.tensor([-9.0, 9.0]).reshape(1, 1, 1, 2)).flatten().tolist() == [0, 255]


def test_dpi_data_does_not_import_torch():
    code = "import sys, dpi.data; print({'torch', 'einops'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
