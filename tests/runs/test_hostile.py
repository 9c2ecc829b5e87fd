"""Runs from elsewhere: none stops a command for the others, hangs it, or has it write elsewhere."""

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dpi.errors import UserError
from dpi.runs.lock import lock
from dpi.runs.record import find_runs, read_split
from dpi.runs.run import open_run

DEEP = "[" * 100_000
BOMB = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in pairwise("abcdefgh"))


def text(name, content):
    def write(run):
        (run / name).write_text(content)

    return write


def setting(key, value):
    def write(run):
        cfg = OmegaConf.load(run / "config.yaml")
        OmegaConf.update(cfg, key, value, merge=False)
        OmegaConf.save(cfg, run / "config.yaml")

    return write


def row(old, new):
    def write(run):
        path = run / "evaluation" / "interpolation.json"
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new, 1))

    return write


def pipe(name):
    def write(run):
        (run / name).unlink()
        os.mkfifo(run / name)

    return write


CONFIGS = {
    "infinite": setting("training.steps", float("inf")),
    "many": setting("training.steps", "many"),
    "negative": setting("image_size", -8),
    "list": text("config.yaml", "[1]"),
    "sections": setting("training", [1]),
    "of nothing": setting("data.source", None),
    "nameless": setting("names.data", None),
    "deep": text("config.yaml", f"a: {DEEP}"),
    "bomb": text("config.yaml", BOMB),
    "large": text("config.yaml", f"a: {'x' * 2**21}"),
    "pipe": pipe("config.yaml"),
    "binary": lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe\0"),
}
ROWS = {
    "value": row('"value": ', '"value": 1e999, "v": '),
    "nan": row('"value": ', '"value": NaN, "v": '),
    "step": row('"step": 3', '"step": "three"'),
    "scalar": row('"scalar": 0', f'"scalar": {10**30}'),
    "deep rows": text("evaluation/interpolation.json", DEEP),
    "pipe rows": pipe("evaluation/interpolation.json"),
}
OTHERS = {
    "checkpoint": pipe("last.ckpt"),
    "gone": lambda run: (run / "last.ckpt").unlink(),
    "unbuilt": setting("arch.num_blocks", -1),
    "status": text("status.json", DEEP),
    "seconds": text("status.json", '{"seconds": 1e999}'),
    "pipe status": pipe("status.json"),
    "\x1b[31mred\nline": lambda run: None,
}


def test_the_others_go_on_beside_one_that_is_locked(command, run):
    run = run()
    for name in ("a", "b"):
        shutil.copytree(run, Path("outputs", name))
    evaluate = ["evaluate.py", "run='outputs/*'", "eval=interpolation", "accelerator=cpu"]
    with lock(Path("outputs/a/evaluation"), "interpolation"):
        done = command(*evaluate, error="interpolation of outputs/a is locked by process")
    assert "1 of 2 runs could not be evaluated" in done.err
    assert Path("outputs/b/evaluation/interpolation.json").exists()


def test_the_others_go_on_and_it_is_named(command, run):
    run = run()
    command("evaluate.py", f"run={run}", "eval=interpolation")
    wrong = CONFIGS | ROWS | OTHERS
    for name, damage in (wrong | {"good": lambda run: None}).items():
        damage(Path(shutil.copytree(run, Path("outputs", name))))
    status = command("status.py")
    assert "\x1b" not in status.out, status
    said = {tuple(line.split()[:2]) for line in status.out.splitlines()}
    trained = ("negative", "of nothing", "nameless")
    assert {("damaged", name) for name in CONFIGS if name not in trained} <= said, status.out
    report = command("report.py", status=1)
    assert "\x1b" not in report.out + report.err
    assert "Traceback" not in report.err and len(report.err.splitlines()) == 1, report.err
    # A negative size and the data's source are not read, and a name with escapes is.
    unread = len(CONFIGS) + len(ROWS) - 1
    assert report.err.count(" cannot be read ") == 3 and f" and {unread - 3} more;" in report.err
    assert Path("outputs/report/avatars-tiny/index.html").exists()
    grid = ["eval=samples", "eval.samples.grid=1", "eval.samples.steps=1", "accelerator=cpu"]
    done = command("evaluate.py", "run='outputs/*'", *grid, status=1)
    failing = [*CONFIGS, "checkpoint", "gone", "unbuilt", "pipe rows", "pipe status"]
    failing.append(r"\x1b[31mred\nline")
    assert "\x1b" not in done.out + done.err
    assert f"{len(failing)} of {len(wrong) + 1} runs could not be evaluated" in done.err, done.err
    assert "Traceback" not in done.err and Path("outputs/good/evaluation/samples.png").exists()
    assert "error: there is no checkpoint outputs/gone/last.ckpt" in done.err
    assert "error: outputs/unbuilt: this network cannot be built" in done.err
    for name in failing:
        assert f"outputs/{name}" in done.err, name


@pytest.mark.parametrize("name", ["q[1]", "a*b", "?"])
def test_a_folder_whose_name_is_a_pattern_is_itself(run, name):
    one = run()
    found = {Path(shutil.copytree(one, f"h/{folder}")) for folder in (name, "q1", "axb", "x")}
    assert find_runs(f"h/{name}") == [Path("h", name)]
    assert {*find_runs("h/*")} == found


@pytest.mark.parametrize("name", ["evaluation", "samples", "sessions.jsonl", ".lock", "log"])
def test_nothing_is_written_through_a_link(command, run, tiny, name):
    run, elsewhere = run(), Path("elsewhere")
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if "." in name:
        elsewhere.write_text("mine\n")
    else:
        elsewhere.mkdir()
    path.symlink_to(elsewhere.absolute())
    for words in (
        ["train.py", *tiny, f"run={run}", "training.steps=4"],
        ["evaluate.py", f"run={run}", "eval=interpolation"],
        ["sample.py", f"run={run}", "n=1", "steps=1", "device=cpu"],
    ):
        command(*words, error=f"{path} is a link")
    assert (
        elsewhere.read_text() == "mine\n" if elsewhere.is_file() else not list(elsewhere.iterdir())
    )


@pytest.mark.parametrize(
    "change",
    [{"held_out": [-1]}, {"held_out": [1, 1]}, {"held_out": [40]}, {"left_out": [0, 1.5]}],
    ids=str,
)
def test_indices_that_are_not_of_images_are_refused(run, change):
    path = run() / "split.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"left_out": []} | change))
    with pytest.raises(UserError, match=r"split\.json cannot be read"):
        read_split(path.parent)


def test_images_are_cached_where_the_user_says(command, run, tmp_path):
    run, theirs = run(), tmp_path / "theirs"
    setting("data.cache_dir", str(theirs))(run)
    few = ["eval=objective", "eval.objective.pictures=2", "eval.objective.t=[0]"]
    command("evaluate.py", f"run={run}", *few, "accelerator=cpu")
    assert not theirs.exists()
    assert open_run(run, trust=True).cfg.data.cache_dir == str(theirs)
