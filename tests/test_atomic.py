"""A file is whole or absent, and nothing is left beside it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import full_disk

from dpi.atomic import atomic, atomic_write
from dpi.data import save_npz
from dpi.errors import UserError
from dpi.plots import plot_lambda, save_grid


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, "old")
    with pytest.raises(FileNotFoundError, match="another"), atomic(path) as file:
        file.write(b"new")
        (tmp_path / "another").read_text()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    code = "import os, pathlib; from dpi.atomic import atomic\n"
    code += "with atomic(pathlib.Path('file')) as f: f.write(b'x'); f.flush(); os.kill(0, 9)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in ("file.partial", "file.download.partial", "mine.partial")]
    for path in others:
        path.touch()
    with atomic(tmp_path / "file") as file:  # for hours
        file.write(b"slow")
        (slow,) = set(tmp_path.iterdir()) - {left, *others}
        for path in (left, slow, *others):
            os.utime(path, (0, 0))
        atomic_write(tmp_path / "other", "")
        assert left.exists(), "it is of another file"
        atomic_write(tmp_path / "file", "fast")
        assert slow.exists() and not left.exists()
    assert (tmp_path / "file").read_text() == "slow"
    assert {*tmp_path.iterdir()} == {tmp_path / "file", tmp_path / "other", *others}


def noise(shape):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: atomic_write(path, bytes(100_000)),
        lambda path: save_npz(path, {"arr_0": noise(100_000)}),
        lambda path: save_grid(noise((9, 128, 128, 3)), path),
        lambda path: plot_lambda(noise((20, 1000)), path),
    ],
)
def test_a_full_disk_leaves_nothing(tmp_path, write):
    said = "it could not be written: File too large"
    with full_disk(5_000), pytest.raises(UserError, match=said):
        write(tmp_path / "it")
    assert os.listdir(tmp_path) == []
