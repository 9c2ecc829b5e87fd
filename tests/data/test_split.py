"""Which images are held out, and which near-duplicates of them are left out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import image_folder
from hypothesis import given
from hypothesis import strategies as st

from dpi.data import Avatars, Folder, read_duplicates, split
from dpi.errors import UserError
from dpi.evaluation.run_images import images_of
from dpi.runs.run import open_run


@given(st.integers(4, 200), st.integers(0, 100), st.data())
def test_a_split_is_complete_and_no_group_lies_on_both_sides(num_images, seed, data):
    groups = data.draw(st.lists(st.lists(st.integers(0, num_images - 1), min_size=1, max_size=4)))
    groups, size = groups[: num_images // 8], data.draw(st.integers(1, num_images // 4))
    plain = split(num_images, size, seed)
    train, held_out, left_out = split(num_images, size, seed, groups)
    assert len(held_out) == size and len(plain.left_out) == 0
    assert np.array_equal(held_out, plain.held_out), "what is held out does not depend on them"
    assert sorted([*train, *held_out, *left_out]) == list(range(num_images))
    assert not any(set(group) & set(held_out) and set(group) & set(train) for group in groups)
    near = {i for group in groups if set(group) & set(held_out) for i in group}
    assert set(left_out) == near - set(held_out), "no other image is left out"


@pytest.mark.parametrize(
    ("num_images", "held_out", "count"),
    [
        *((70_000, None, 1000), (22_565, None, 1000), (10_000, None, 1000), (500, None, 50)),
        *((9, None, 1), (500, 0.2, 100), (3, 0.1, 1), (4096, 512, 512)),
    ],
)
def test_how_many_are_held_out(num_images, held_out, count):
    held = split(num_images, held_out, 0).held_out
    assert len(held) == count
    assert np.array_equal(held, split(num_images, count, 0).held_out)
    assert not np.array_equal(held, split(num_images, held_out, 1).held_out)


@pytest.mark.parametrize(
    ("num_images", "held_out", "groups"),
    [(10, 10, []), (3, 5, []), (1, None, []), (10, 2.5, []), (2, 0.9, []), (3, 1, [[0, 1, 2]])],
)
def test_too_few_images_raise(num_images, held_out, groups):
    with pytest.raises(UserError, match=r"data\.held_out"):
        split(num_images, held_out, 0, groups)


def test_images_without_names_have_no_list(tmp_path):
    with pytest.raises(UserError, match="have no names"):
        read_duplicates(tmp_path / "list.txt", Avatars(3, 8))


def test_a_run_leaves_them_out_and_is_recognized_by_what_it_left_out(command, own, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    images = image_folder("Fotos, für (Anna)", 20)
    names = [f"{i:02}.png" for i in range(20)]
    held = split(20, 8, 0).held_out
    others = [i for i in range(20) if i not in held]
    lines = {
        "list.txt": [[held[0], others[0], others[1]], others[2:4], held[1:3]],
        "moved.txt": [[others[1], held[0], others[0]]],  # the same are left out
        "other.txt": [[held[0], others[5]]],
    }
    for path, groups in lines.items():
        Path(path).write_text("\n".join("\t".join(names[i] for i in group) for group in groups))
    Path("wrong.txt").write_text("00.png\twrong.png")
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    assert read_duplicates("list.txt", Folder(images, 8)) == [list(g) for g in lines["list.txt"]]
    overrides = [*own, "data=folder", f"data.path='~/{images}'", "run=it"]
    done = command("train.py", *overrides, "data.duplicates=list.txt")
    assert "10 images" in done.out, done.err
    record = json.loads(Path("it/split.json").read_text())
    assert record["left_out"] == others[:2] and record["held_out"] == held.tolist()
    run = open_run("it")
    assert run.cfg.data.name == run.cfg.names.data == "Fotos_f_r_Anna_-18f8c9"
    assert run.cfg.data.path == str(images.absolute())
    assert images_of(run)[1].train.tolist() == others[2:], "as the evaluations see it"
    for path in images.iterdir():
        os.utime(path, ns=(0, 0))  # the same images, copied without their times
    done = command("train.py", *overrides, "data.duplicates=moved.txt")
    assert "is finished" in done.out
    for path, said in {
        "other.txt": "has left out other images (2, now 1)",
        "null": "has left out other images (2, now 0)",
        "wrong.txt": "names 1 images that the data set does not have, 'wrong.png'",
        "bytes.txt": "names 1 images that the data set does not have",
        "/dev/zero": "data.duplicates=/dev/zero cannot be read",
    }.items():
        done = command("train.py", *overrides, f"data.duplicates={path}", status=1)
        assert said in done.one_line()
