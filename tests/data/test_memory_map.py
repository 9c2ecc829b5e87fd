"""Decoding happens once, and whatever stops it, no half-written file is taken for a whole one."""

import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpi.data import memory_map, split
from dpi.errors import UserError


class Counting:
    """Pictures that say how often they were decoded; one of them may be spoilt."""

    image_size = 4
    fingerprint = "0123456789abcdef"

    def __init__(self, count: int, spoilt: int | None = None) -> None:
        self.count, self.spoilt, self.decoded = count, spoilt, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        self.decoded += 1
        if i == self.spoilt:
            raise UserError(f"picture {i} is spoilt")
        return np.full((3, 4, 4), i % 256, np.uint8)


def test_decodes_once(tmp_path):
    source = Counting(1500)
    first = memory_map(source, tmp_path, "set")
    again = memory_map(source, tmp_path, "set")
    assert source.decoded == 1500
    assert isinstance(again, np.memmap) and not again.flags.writeable
    assert np.array_equal(first, again) and first.shape == (1500, 3, 4, 4)
    assert (first[:, 0, 0, 0] == np.arange(1500) % 256).all()


def test_a_spoilt_picture_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="picture 7 is spoilt"):
        memory_map(Counting(10, spoilt=7), tmp_path, "set")
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_made_again(tmp_path):
    whole = np.array(memory_map(Counting(10), tmp_path, "set"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(memory_map(Counting(10), tmp_path, "set"), whole)


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path):
    # A limit on the size of files fails a write as a full disk does, and needs no privileges.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"disk is full; 0 MB .* data\.cache_dir"):
            memory_map(Counting(1000), tmp_path, "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(2, 300), st.data())
def test_a_split_is_complete_disjoint_and_fixed_by_its_seed(num_pictures, data):
    held_out = data.draw(st.integers(1, num_pictures - 1))
    seed = data.draw(st.integers(0, 100))
    train, held = split(num_pictures, held_out, seed)
    assert len(held) == held_out
    assert sorted([*train, *held]) == list(range(num_pictures))
    assert np.array_equal(split(num_pictures, held_out, seed)[1], held)


def test_seeds_hold_out_different_pictures():
    assert not np.array_equal(split(100, 10, 0)[1], split(100, 10, 1)[1])


@pytest.mark.parametrize(("num_pictures", "held_out"), [(10, 10), (3, 5), (10, 0)])
def test_too_few_pictures_are_told(num_pictures, held_out):
    with pytest.raises(UserError, match=r"data\.held_out"):
        split(num_pictures, held_out, 0)
