"""Images are decoded once, and an interruption never leaves an incomplete cache."""

import numpy as np
import pytest
from conftest import full_disk
from PIL import Image

from dpi.data import Folder, memory_map, source
from dpi.errors import UserError


class Counting:
    """A source that counts how often it is read."""

    image_size, image_channels = 4, 3
    fingerprint = "0123456789abcdef"

    def __init__(self, count: int) -> None:
        self.count, self.decoded = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        self.decoded += 1
        return np.full((3, 4, 4), i % 256, np.uint8)


def test_images_are_decoded_once_and_again_if_the_cache_is_truncated(tmp_path):
    images = Counting(1500)
    first = memory_map(images, tmp_path, "set")
    again = memory_map(images, tmp_path, "set")
    assert images.decoded == 1500
    assert isinstance(again, np.memmap) and not again.flags.writeable
    assert np.array_equal(first, again) and first.shape == (1500, 3, 4, 4)
    assert (first[:, 0, 0, 0] == np.arange(1500) % 256).all()
    (path,), whole = tmp_path.iterdir(), np.array(again)
    path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(memory_map(images, tmp_path, "set"), whole)


@pytest.mark.parametrize("bad", [1, 3, 12])
def test_all_that_cannot_be_used_is_named_at_once_and_no_file_is_left(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(source, "CHUNK", 2)
    (tmp_path / "set").mkdir()
    for i in range(bad + 4):
        Image.new("L" if i < bad else "RGB", (4, 4)).save(tmp_path / f"set/{i:02}.png")
    if bad > 1:
        (tmp_path / "set/01.png").write_bytes(b"no image")
        Image.new("RGB", (3, 3)).save(tmp_path / "set/02.png")
    with pytest.raises(UserError) as error:
        memory_map(Folder(tmp_path / "set", 4), tmp_path / "cache", "set")
    reasons, advice = str(error.value).split("; ")
    assert reasons.startswith(f"{bad} of {bad + 4} images cannot be used: ")
    assert "00.png is not RGB but L" in reasons
    named = [f"{i:02}.png" for i in range(bad + 4) if f"{i:02}.png" in reasons]
    assert named == [f"{i:02}.png" for i in range(min(bad, 10))]
    assert ("and 2 more" in reasons) == (bad == 12)
    small = ["choose a smaller image_size"] * (bad > 1)
    assert advice.split(", or ") == [
        "convert them with data.convert=true",
        "set image_channels=1 if all are L",
        *small,
        "remove them from the data set",
        "leave them out with data.skip_broken=true",
    ]
    if bad > 1:
        assert "01.png cannot be read" in reasons and "02.png is 3x3, smaller" in reasons
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_raises_and_leaves_no_file(tmp_path):
    with full_disk(20_000), pytest.raises(UserError, match=r"File too large; .* DPI_CACHE="):
        memory_map(Counting(1000), tmp_path, "set")
    images = Counting(10**14)  # its space is checked before an image is decoded
    with pytest.raises(UserError, match=r"takes 4,800,000,000 MB, and .* free; .* DPI_CACHE="):
        memory_map(images, tmp_path / "cache", "set")
    assert images.decoded == 0 and list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"could not be written: .*; give .* DPI_CACHE="):
        memory_map(Counting(10), tmp_path / "file" / "cache", "set")
