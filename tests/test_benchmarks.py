"""The benchmarks of speed run, at the smallest size: what they print is numbers, not how fast."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

SMALL = ("archs=drunet", "scale=mini", "training.batch_size=8")


def printed(script: str, *arguments: str) -> tuple[list[list[str]], str]:
    """The rows of all tables that a benchmark prints, without heads, and its errors."""
    command = [sys.executable, f"benchmarks/{script}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("| drunet")]
    return [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines], done.stderr


@pytest.mark.slow
def test_gpu_measures_each_way_once(tmp_path):
    arguments = ("checks", "training", "sampling", "kernels", *SMALL, f"out={tmp_path / 'rows'}")
    rows, err = printed("gpu.py", *arguments)
    assert "Left out" not in err
    # Each of four tables has the t map, and numbers alone.
    assert [row[0] for row in rows].count("t map") == 4
    assert all(re.fullmatch(r"[\d.,e-]+", cell) for row in rows for cell in row[1:])
    # The same command goes on where the first ended: it has the same times.
    assert printed("gpu.py", *arguments)[0] == rows


@pytest.mark.slow
def test_cpu_names_what_is_left_out():
    rows, err = printed("cpu.py", "starting", "originals", *SMALL)
    assert [row[0] for row in rows] == ["cond=nowhere", "training.lr=-1", "arch.channels=[0]"]
    assert "Left out: drunet, ours: " in err and "models" in err
