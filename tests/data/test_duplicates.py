"""data.duplicates=: near-duplicates of held-out images are not trained on."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpi.data import Avatars, Folder, read_duplicates, split
from dpi.errors import UserError
from dpi.evaluation.run_images import images_of
from dpi.runs.run import open_run


def image_folder(count: int) -> Path:
    """Images 00.png, 01.png, ... of noise."""
    Path("images").mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(f"images/{i:02}.png")
    return Path("images")


@given(st.integers(4, 200), st.data())
def test_no_group_lies_on_both_sides(num_images, data):
    groups = data.draw(st.lists(st.lists(st.integers(0, num_images - 1), min_size=1, max_size=4)))
    size = data.draw(st.integers(1, num_images // 4))
    plain = split(num_images, size, 0)
    train, held_out, left_out = split(num_images, size, 0, groups[: num_images // 8])
    assert np.array_equal(held_out, plain.held_out), "what is held out does not depend on them"
    assert sorted([*train, *held_out, *left_out]) == list(range(num_images))
    assert len(plain.left_out) == 0
    near = set()
    for group in groups[: num_images // 8]:
        assert not (set(group) & set(held_out) and set(group) & set(train))
        near |= set(group) if set(group) & set(held_out) else set()
    assert set(left_out) == near - set(held_out), "no other image is left out"


def test_no_image_left_to_train_on_raises():
    with pytest.raises(UserError, match=r"data\.held_out=1: there are 3 images"):
        split(3, 1, 0, [[0, 1, 2]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"00.png\t77.png\n", r"names 1 images that the data set does not have, '77.png'"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_list_of_other_images_is_named(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    source = Folder(image_folder(3), 8)
    if content is not None:
        Path("list.txt").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        read_duplicates("list.txt", source)
    assert "data.duplicates=list.txt" in str(error.value) and "\n" not in str(error.value)


def test_images_without_names_have_no_list(tmp_path):
    with pytest.raises(UserError, match="have no names"):
        read_duplicates(tmp_path / "list.txt", Avatars(3, 8))


def test_a_run_leaves_them_out_and_is_recognized_by_what_it_left_out(command, tiny):
    images = image_folder(20)
    names = [f"{i:02}.png" for i in range(20)]
    held = split(20, 8, 0).held_out
    others = [i for i in range(20) if i not in held]
    lines = {
        "list.txt": [[held[0], others[0], others[1]], others[2:4], held[1:3]],
        "moved.txt": [[others[1], held[0], others[0]]],  # the same are left out
        "other.txt": [[held[0], others[5]]],
        "wrong.txt": [],
    }
    for path, groups in lines.items():
        text = "\n".join("\t".join(names[i] for i in group) for group in groups)
        Path(path).write_text(text if groups else "wrong.png")
    overrides = [w for w in tiny if not w.startswith(("data=", "data.count="))]
    overrides += ["data=folder", f"data.path={images}", "run=it"]
    done = command("train.py", *overrides, "data.duplicates=list.txt")
    assert done.status == 0 and "10 images" in done.out, done.err
    record = json.loads(Path("it/split.json").read_text())
    assert record["left_out"] == others[:2] and record["held_out"] == held.tolist()
    assert images_of(open_run("it")).train.tolist() == others[2:], "as the evaluations see it"
    for path in images.iterdir():
        os.utime(path, ns=(0, 0))  # the same images, copied without their times
    done = command("train.py", *overrides, "data.duplicates=moved.txt")
    assert done.status == 0 and "is finished" in done.out
    for path, said in {
        "other.txt": "has left out other images (2, now 1)",
        "null": "has left out other images (2, now 0)",
        "wrong.txt": "names 1 images that the data set does not have, 'wrong.png'",
    }.items():
        done = command("train.py", *overrides, f"data.duplicates={path}")
        (line,) = done.err.splitlines()
        assert done.status == 1 and line.startswith("error: ") and said in line
