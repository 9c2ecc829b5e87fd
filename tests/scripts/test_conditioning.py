"""Conditionings are compared at their best settings, seed by seed."""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from tests.reporting.made_up import row, write_run

from dpi.reporting import report

SCRIPT = Path(__file__).parents[2] / "scripts/conditioning.py"


def add(cond: str, seed: int, mean: float, framework: str = "diffusion", **settings: float) -> None:
    rows = {"objective": [row("objective", mean, scalars=28)]}
    rows["complexity"] = [row("parameters", 2_128_552), row("training_step_s", 0.0421)]
    if cond == "tmap":
        rows["complexity"] = [row("parameters", 1_063_920)]
    named = {
        f"{'arch' if key == 'dropout' else 'training'}.{key}": v for key, v in settings.items()
    }
    write_run(Path("runs"), (framework, "drunet", cond), rows, seed, named)


def tables() -> list[list[list[str]]]:
    """The cells of each table that the script prints, without its head."""
    report(Path("runs"), Path("report"))
    command = [sys.executable, SCRIPT, "report/*/results.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]]
        for part in done.stdout.split("\n\n")
        if part.startswith("|")
    ]


def test_each_is_compared_at_its_best_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add("film", 0, 0.055)
    add("film", 0, 0.049, dropout=0, lr=2e-3)
    add("dpi", 0, 0.052)
    add("dpi", 0, 3e9, lr=4e-3)
    add("tmap", 0, 0.060)
    for seed, noise in enumerate((0.0, 0.0004, -0.0002, 0.0002), start=1):
        add("film", seed, 0.050 + noise, dropout=0, lr=2e-3)
        add("dpi", seed, 0.052 + noise + 2e-5 * seed)
        add("tmap", seed, 0.060 + noise)
    add("dpi", 0, 0.2, "flow")
    in_short, diffusion, flow, costs = tables()
    # Both frameworks beside each other, costs over the t map's (its step was not measured).
    assert in_short == [
        ["FiLM", "2.00", "-3.9 ± 0.1 *", ""],
        ["DPI", "2.00", "", ""],
        ["t map", "1.00", "+15.2 ± 0.1 *", ""],
    ]
    assert [line[0] for line in diffusion] == ["FiLM", "DPI", "t map"]
    # Seed 0, which chose the settings, is not among the four that are compared.
    assert diffusion[0] == (
        ["FiLM", "0.05010", "-3.9 ± 0.1 *", "4", "dropout = 0, lr = 0.002", "2"]
    )
    assert diffusion[1][1:] == ["0.05215", "", "4", "", "2"]
    assert costs == [["t map", "1.06", ""], ["DPI", "2.13", "42.1"], ["FiLM", "2.13", "42.1"]]
    assert diffusion[2][2].startswith("+15.2 ± 0.1")
    assert [line[0] for line in flow] == ["DPI"] and flow[0][1:4] == ["0.20000", "", "1"]


def test_the_samples_of_the_runs_that_are_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for lr, mean, worse in ((1e-3, 0.06, 8.0), (2e-3, 0.05, 0.0)):
        for seed in range(3):
            rows = {"objective": [row("objective", mean, scalars=28)]}
            metrics = ("fd_pixels", "fd_random", "coverage_pixels", "coverage_random")
            rows["pixels"] = [row(metric, 2.0 + seed + worse) for metric in metrics]
            write_run(Path("runs"), ("diffusion", "drunet", "dpi"), rows, seed, {"training.lr": lr})
    add("film", 1, 0.055)
    _, quality, _ = tables()
    assert quality == [["DPI", "3", "3", "3", "3", "3"]]


def test_float32_on_a_gpu_is_compared_with_a_cpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, on_gpu in enumerate(({"trainer.precision": "32-true"}, {})):
        for cond in ("film", "dpi"):
            rows = {"objective": [row("objective", 0.05, scalars=28)]}
            names = ("diffusion", "adm", cond)
            write_run(Path("runs"), names, rows, seed, {"framework.precondition": True} | on_gpu)
    (table,) = tables()
    assert [line[0] for line in table] == ["DPI", "FiLM"] and table[0][3] == "2"


def test_the_figures_have_a_line_through_the_sizes_and_the_steps_of_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for cond, worse in (("film", 2), ("tmap", 1)):
        for channels in ([8, 16], [16, 32]):
            for seed in range(3):
                by_step = [row("objective", worse * (1 + seed), float(t)) for t in (0, 500, 999)]
                rows = {"objective": [row("objective", worse / channels[0], scalars=28), *by_step]}
                rows["complexity"] = [row("parameters", 1e4 * channels[0])]
                names = ("diffusion", "drunet", cond)
                own = {"arch.channels": channels} if channels[0] == 8 else {}
                write_run(Path("runs"), names, rows, seed, own)
    report(Path("runs"), Path("report"))
    command = [sys.executable, SCRIPT, "report/*/results.csv", "cost.png", "steps.svg"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "FiLM, channels = 8, 16" in done.stdout
    assert Image.open("cost.png").size[0] > 300
    assert "relative to the t map" in Path("steps.svg").read_text()
    shutil.rmtree("runs")
    add("film", 0, 0.05)
    report(Path("runs"), Path("other"))
    command = [sys.executable, SCRIPT, "other/*/results.csv", "cost.png", "steps.svg"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "error: cost.png: no two conditionings have several sizes\n",
    )


def test_the_asterisks_of_patterns_are_no_italics(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from conditioning import markdown

    row = markdown([["conditioning"], ["---"], ["DPI, include = head.*, tail.*"]]).splitlines()[2]
    assert row == r"| DPI, include = head.\*, tail.\* |"


def test_no_file_is_one_line():
    done = subprocess.run([sys.executable, SCRIPT, "none.csv"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: runs=none.csv")
    assert done.stderr.count("\n") == 1
