"""Images are decoded once, and an interruption never leaves an incomplete cache."""

import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpi.data import Folder, memory_map, split
from dpi.errors import UserError


class Counting:
    """A source that counts how often it is read; one of its images may be corrupt."""

    image_size, image_channels = 4, 3
    fingerprint = "0123456789abcdef"

    def __init__(self, count: int, corrupt: int | None = None) -> None:
        self.count, self.corrupt, self.decoded = count, corrupt, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        self.decoded += 1
        if i == self.corrupt:
            raise UserError(f"image {i} is corrupt")
        return np.full((3, 4, 4), i % 256, np.uint8)


def test_images_are_decoded_once(tmp_path):
    source = Counting(1500)
    first = memory_map(source, tmp_path, "set")
    again = memory_map(source, tmp_path, "set")
    assert source.decoded == 1500
    assert isinstance(again, np.memmap) and not again.flags.writeable
    assert np.array_equal(first, again) and first.shape == (1500, 3, 4, 4)
    assert (first[:, 0, 0, 0] == np.arange(1500) % 256).all()


def test_a_corrupt_image_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="image 7 is corrupt"):
        memory_map(Counting(10, corrupt=7), tmp_path, "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("bad", "count"), [(3, "3"), (12, "the first 10")])
def test_all_that_cannot_be_used_is_named_at_once(tmp_path, bad, count):
    (tmp_path / "set").mkdir()
    for i in range(bad + 4):
        Image.new("L" if i < bad else "RGB", (4, 4)).save(tmp_path / f"set/{i:02}.png")
    (tmp_path / "set/01.png").write_bytes(b"no image")
    Image.new("RGB", (3, 3)).save(tmp_path / "set/02.png")
    with pytest.raises(UserError) as error:
        memory_map(Folder(tmp_path / "set", 4), tmp_path / "cache", "set")
    reasons, *advice = str(error.value).split("; ")
    assert reasons.startswith(f"{count} images that cannot be used: ")
    named = [f"{i:02}.png" for i in range(bad + 4) if f"{i:02}.png" in reasons]
    assert named == [f"{i:02}.png" for i in range(min(bad, 10))]
    for reason in ("00.png is not RGB but L", "01.png cannot be read", "02.png is 3x3, smaller"):
        assert reason in reasons
    assert len(advice) == 3 and "data.convert=true" in advice[0] and "remove it" in advice[1]


def test_a_truncated_cache_is_rebuilt(tmp_path):
    complete = np.array(memory_map(Counting(10), tmp_path, "set"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(memory_map(Counting(10), tmp_path, "set"), complete)


def test_a_full_disk_raises_and_leaves_no_file(tmp_path):
    # A limit on the file size fails a write like a full disk, without privileges.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"File too large; .* DPI_CACHE="):
            memory_map(Counting(1000), tmp_path, "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_space_is_checked_before_an_image_is_decoded(tmp_path):
    source = Counting(10**14)
    with pytest.raises(UserError, match=r"takes 4,800,000,000 MB, and .* free; .* DPI_CACHE="):
        memory_map(source, tmp_path / "cache", "set")
    assert source.decoded == 0 and list(tmp_path.iterdir()) == []


def test_a_read_only_cache_raises(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"could not be written: .*; give .* DPI_CACHE="):
        memory_map(Counting(10), tmp_path / "file" / "cache", "set")


@given(st.integers(2, 300), st.data())
def test_a_split_is_complete_disjoint_and_reproducible(num_images, data):
    held_out = data.draw(st.integers(1, num_images - 1))
    seed = data.draw(st.integers(0, 100))
    train, held, _ = split(num_images, held_out, seed)
    assert len(held) == held_out
    assert sorted([*train, *held]) == list(range(num_images))
    assert np.array_equal(split(num_images, held_out, seed).held_out, held)


def test_seeds_hold_out_different_images():
    assert not np.array_equal(split(100, 10, 0).held_out, split(100, 10, 1).held_out)


@pytest.mark.parametrize(
    ("num_images", "held_out", "count"),
    [
        *((70_000, None, 1000), (22_565, None, 1000), (10_000, None, 1000), (500, None, 50)),
        *((9, None, 1), (500, 0.2, 100), (3, 0.1, 1), (4096, 512, 512)),
    ],
)
def test_how_many_are_held_out(num_images, held_out, count):
    parts = split(num_images, held_out, 0)
    assert len(parts.held_out) == count
    assert np.array_equal(parts.held_out, split(num_images, count, 0).held_out)


@pytest.mark.parametrize(
    ("num_images", "held_out"),
    [(10, 10), (3, 5), (10, 0), (1, None), (10, -0.5), (10, 1.0), (10, 2.5), (2, 0.9)],
)
def test_too_few_images_raise(num_images, held_out):
    with pytest.raises(UserError, match=r"data\.held_out"):
        split(num_images, held_out, 0)
