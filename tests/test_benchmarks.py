"""The benchmarks of speed run, at the smallest size: what they print is numbers, not how fast."""

import json
import re
import sys

import pytest
from conftest import ROOT

SMALL = ("archs=drunet", "scale=mini", "training.batch_size=8")
SMALL += ("arch.channels=[4,4,8,8]", "arch.num_blocks=1")


@pytest.fixture
def printed(command, monkeypatch):
    """The rows of all tables that a benchmark prints, without heads, and its errors."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")

    def run(script: str, *arguments: str) -> tuple[list[list[str]], str]:
        done = command(f"benchmarks/{script}", *arguments)
        lines = [line for line in done.out.splitlines() if line.startswith("| drunet")]
        return [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines], done.err

    yield run
    for name in ("cpu", "steps", "models.network_unet", "models"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_gpu_measures_each_way_once(printed):
    chosen = ("checks", "training", "sampling", "kernels", "ways=^(t map|DPI)")
    arguments = (*chosen, *SMALL, "out=rows")
    rows, err = printed("gpu.py", *arguments)
    assert "Left out" not in err
    # Each of four tables has the t map, and numbers alone.
    assert [row[0] for row in rows].count("t map") == 4
    assert all(re.fullmatch(r"[\d.,e-]+", cell) for row in rows for cell in row[1:])
    # The same command goes on where the first ended: it has the same times.
    assert printed("gpu.py", *arguments)[0] == rows


@pytest.mark.slow
def test_cpu_names_what_is_left_out(printed):
    rows, err = printed("cpu.py", "starting", "originals", *SMALL)
    assert [row[0] for row in rows] == ["cond=nowhere", "training.lr=-1", "arch.channels=[0]"]
    assert "Left out: drunet, ours: " in err and "models" in err


@pytest.mark.slow
def test_gpu_compares_the_losses_of_candidates(printed):
    chosen = "ways=^(weights from 0|loop|loop, compiled|loop graph|pass graph|FiLM)$"
    rows, err = printed("gpu.py", "candidates", chosen, *SMALL, "training.distinct_scalars=2")
    assert [row[0] for row in rows] == ["weights from 0", "loop", "FiLM", "loop, compiled"]
    assert all(float(row[-1]) < 1e-5 for row in rows)  # one step's gradients are in the next loss
    assert err.count("Left out") == err.count("graph: a CUDA graph needs a GPU") == 2


@pytest.mark.slow
def test_originals_train_beside_ours_and_rows_become_a_table(printed, tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "network_unet.py").write_text("from dpi.architectures import DRUNet as UNetRes\n")
    path = tmp_path / "rows.jsonl"
    chosen = ("originals", "ways=ours", *SMALL, f"out={path}")
    monkeypatch.syspath_prepend(tmp_path)
    rows, err = printed("gpu.py", *chosen)
    assert not err and rows[0][0] == "ours"
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from tables import timed

    (row,) = map(json.loads, path.read_text().splitlines())
    assert f"| ours | {row['cells']['ours, ms']:.3f} |" in timed(
        "originals", "ours, ms", ".3f", str(path)
    )
    assert timed("training", "ms", ".1f", str(path)) == "Not measured."
