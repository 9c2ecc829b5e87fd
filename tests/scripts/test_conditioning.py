"""Conditionings are compared at their best learning rates, seed by seed."""

import subprocess
import sys
from pathlib import Path

from tests.reporting.made_up import row, write_run

from dpi.reporting import report

SCRIPT = Path(__file__).parents[2] / "scripts/conditioning.py"


def add(cond: str, seed: int, lr: float, mean: float, framework: str = "diffusion") -> None:
    settings = {} if lr == 1e-3 else {"training.lr": lr}
    rows = {"objective": [row("objective", mean, scalars=28)], "complexity": []}
    rows["complexity"] = [row("parameters", 2_128_552)]
    write_run(Path("runs"), (framework, "drunet", cond), rows, seed, settings)


def test_each_is_compared_at_its_best_learning_rate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, noise in enumerate((0.0, 0.0004, -0.0002, 0.0002)):
        add("film", seed, 2e-3, 0.050 + noise)
        add("dpi", seed, 1e-3, 0.052 + noise + 2e-5 * seed)
        add("tmap", seed, 1e-3, 0.060 + noise)
    add("film", 0, 1e-3, 0.055)
    add("dpi", 0, 2e-3, 0.053)
    add("dpi", 0, 4e-3, 3e9)
    add("dpi", 0, 1e-3, 0.2, "flow")
    report(Path("runs"), Path("report"))
    command = [sys.executable, SCRIPT, "report/*/results.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    diffusion, flow = done.stdout.split("### ")[1:]
    assert diffusion.startswith("DRUNet, diffusion; 3,000 steps")
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in diffusion.splitlines()[4:7]
    ]
    assert [line[0] for line in lines] == ["FiLM", "DPI", "t map"]
    assert lines[0] == ["FiLM", "2.13", "0.05500", "0.05010", "", "4", "0.05010", ""]
    assert lines[1][2:7] == ["0.05213", "0.05300", "3e+09", "4", "0.05213"]
    assert lines[1][7].startswith("+4.1 ± 0.1") and lines[1][7].endswith("*")
    assert "DPI" in flow and "FiLM" not in flow


def test_no_file_is_one_line():
    done = subprocess.run([sys.executable, SCRIPT, "none.csv"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: runs=none.csv")
    assert done.stderr.count("\n") == 1
