"""Progress: a moving bar in a terminal, few lines in a file, and errors on lines of their own."""

import io
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from conftest import ROOT

from dpi.progress import Progress, bars_closed

DIVERGES = ["training.steps=20", "training.lr=1e30", "training.show.log_every=5"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def in_a_terminal(folder: Path, script: str, *arguments: str) -> str:
    """What a command writes to a terminal, on both streams."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, ROOT / script, *arguments]
    process = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        written += chunk
    process.wait()
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def test_a_training_writes_few_lines_into_a_file(command, tiny):
    done = command("train.py", *tiny, "training.steps=60", "training.show.every=60", "run=run")
    assert len(done.err) < 2000 and "\r" not in done.err and "█" not in done.err
    *_, last = (line for line in done.err.splitlines() if line.startswith("Training"))
    assert re.match(r"Training: 100% 60/60 \[.*, loss=[\d.]+, .*images/s=\d+", last), last


def test_a_training_without_a_bar(command, tiny, run):
    run()
    done = command(
        "train.py", *tiny, "run=run", "training.steps=4", "+trainer.enable_progress_bar=false"
    )
    assert "resuming from step 3" in done.out and "Training" not in done.err


def test_in_a_file_a_bar_is_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr("dpi.progress.time.monotonic", iter(range(1000)).__next__)
    file = io.StringIO()
    with Progress(total=90, desc="Sampling", file=file, mininterval=0, miniters=1) as bar:
        for _ in range(90):
            bar.update()
    lines = file.getvalue().splitlines()
    assert [line.split(" [")[0] for line in lines] == [
        "Sampling:  32% 29/90",
        "Sampling:  66% 59/90",
        "Sampling:  99% 89/90",
        "Sampling: 100% 90/90",
    ]


def test_a_bar_within_another_leaves_nothing_in_a_file():
    file = io.StringIO()
    list(Progress(range(50), desc="DDIM", leave=False, file=file, mininterval=0))
    assert file.getvalue() == ""


def test_in_a_terminal_it_is_the_bar_of_tqdm():
    file = Terminal()
    list(Progress(range(50), desc="Decoding", file=file, mininterval=0, ascii=True))
    *before, last = file.getvalue().split("\r")
    assert len(before) >= 50 and "#" in last and last.endswith("\n")
    assert last.rstrip().endswith("]")  # padded where the line before was longer


def test_bars_that_an_error_leaves_are_closed():
    file = Terminal()

    def fail() -> None:
        outer = Progress(total=3, desc="outer", file=file)
        inner = Progress(total=3, desc="inner", leave=False, file=file)
        outer.update(), inner.update()
        raise KeyError

    with pytest.raises(KeyError) as kept, bars_closed():  # its traceback keeps the bars
        fail()
    file.write("error: one")
    assert "outer" in file.getvalue().split("\n")[-2]
    assert file.getvalue().split("\n")[-1] == "error: one", kept


@pytest.mark.slow
def test_an_error_begins_on_its_own_line_in_a_terminal(tiny, tmp_path):
    written = in_a_terminal(tmp_path, "train.py", "-m", *tiny, *DIVERGES, "run=run")
    shown = [line.rpartition("\r")[2] for line in written.split("\n")]
    error = next(i for i, line in enumerate(shown) if "is not finite" in line)
    assert shown[error].startswith("error: ")
    assert shown[error - 1].startswith("Training:  20%")
    assert not any("Training" in line for line in shown[error + 1 :])
