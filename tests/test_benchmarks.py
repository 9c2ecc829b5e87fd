"""The benchmarks of speed run, at the smallest size: what they print is numbers, not how fast."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT


def printed(script: str, *arguments: str) -> dict[str, list[str]]:
    """The rows of all tables that a benchmark prints, by what they begin with."""
    command = [sys.executable, f"benchmarks/{script}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    return {"; ".join(row[:2]): row for row in rows} | {"": done.stdout.splitlines()}


def is_time(cell: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", cell)) and float(cell) >= 0


@pytest.mark.slow
def test_gpu():
    """All of it but what takes long; nothing is compiled on a CPU."""
    rows = printed(
        "gpu.py",
        *("archs=drunet", "only=checks,sampling,trainer,kernels,training"),
        *("minutes=9", "rounds=1", "repeats=1", "steps=6"),
        *("scale=mini", "training.batch_size=8"),
    )
    for way in ("t map", "DPI, 1 scalar", "DPI, 8 scalars, 8 micro-batches", "FiLM", "DPI"):
        assert all(map(is_time, rows[f"drunet; {way}"][2:5])), rows[f"drunet; {way}"]
    assert float(rows["drunet; dpi"][2]) < 1e-4  # against float64
    printed_rows = "\n".join(rows[""])
    assert len(re.findall(r"^\| drunet \| t map \|", printed_rows, re.M)) == 3  # one a section
    assert "Left out: drunet, t map, compiled: it takes minutes on a CPU." in printed_rows


@pytest.mark.slow
def test_cpu():
    rows = printed("cpu.py", "only=evaluation,sampling,originals", "rounds=1")
    tables = [row for key, row in rows.items() if key]
    for arch in ("DRUNet", "ADM"):
        assert any(row[0] == arch and is_time(row[1]) and is_time(row[4]) for row in tables)
    assert "Left out: DPIR's UNetRes, without dpir=FOLDER." in rows[""]
    assert "Left out: guided-diffusion's UNetModel, without guided_diffusion=FOLDER." in rows[""]
