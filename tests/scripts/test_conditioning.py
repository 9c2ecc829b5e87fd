"""Conditionings are compared at their best settings, seed by seed."""

import shutil
from pathlib import Path

from PIL import Image
from tests.reporting.made_up import row, write_run

from dpi.reporting import report

TRAINED = {"framework.precondition": True}
"""What all runs set."""


def add(cond: str, seed: int, mean: float, framework: str = "diffusion", **settings) -> None:
    rows = {"objective": [row("objective", mean, scalars=28)]}
    rows["complexity"] = [row("parameters", 2_128_552), row("training_step_s", 0.0421)]
    if cond == "tmap":
        rows["complexity"] = [row("parameters", 1_063_920)]
    metrics = ("fd_pixels", "fd_random", "coverage_pixels", "coverage_random")
    rows["fidelity"] = [row(metric, 2.0 + seed) for metric in metrics]
    own = {key.replace("_", ".", 1): value for key, value in settings.items()}
    write_run(Path("runs"), (framework, "drunet", cond), rows, seed, TRAINED | own)


def compared(command, *figures: str):
    report(Path("runs"), Path("report"))
    return command("scripts/conditioning.py", "report/*/results.csv", *figures)


def tables(text: str) -> dict[str, list[list[str]]]:
    """The cells of each printed table, without its head, by title."""
    return {
        part.partition("\n")[0]: [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[4:-1]
        ]
        for part in text.split("### ")[1:]
    }


def test_each_is_compared_at_its_best_settings(command):
    add("film", 0, 0.055)
    add("film", 0, 0.049, arch_dropout=0, training_lr=2e-3)
    add("dpi", 0, 0.052)
    add("dpi", 0, 3e9, training_lr=4e-3)
    add("tmap", 0, 0.060)
    for seed, noise in enumerate((0.0, 0.0004, -0.0002, 0.0002), start=1):
        # A GPU's float32 is a CPU's default.
        gpu = {"trainer_precision": "32-true"} if seed == 1 else {}
        add("film", seed, 0.050 + noise, arch_dropout=0, training_lr=2e-3, **gpu)
        add("dpi", seed, 0.052 + noise + 2e-5 * seed)
        add("tmap", seed, 0.060 + noise)
    add("dpi", 0, 0.2, "flow")
    found = tables(compared(command).out)
    block = "DRUNet, diffusion; precondition = true; 3,000 steps"
    # Both frameworks beside each other, costs over the t map's (its step was not measured).
    assert found["DRUNet, in short"] == [
        ["FiLM", "2.00", "-3.9 ± 0.1 *", ""],
        ["DPI", "2.00", "", ""],
        ["t map", "1.00", "+15.2 ± 0.1 *", ""],
    ]
    # Seed 0, which chose the settings, is not among the four that are compared.
    film, dpi, tmap = found[block]
    assert film == ["FiLM", "0.05010", "-3.9 ± 0.1 *", "4", "dropout = 0, lr = 0.002", "2"]
    assert dpi == ["DPI", "0.05215", "", "4", "", "2"] and tmap[2].startswith("+15.2 ± 0.1")
    assert ["DPI", "4", "4.5", "4.5", "4.5", "4.5"] in found[f"{block}: samples"]
    assert found["DRUNet, costs"] == [
        ["t map", "1.06", ""],
        ["DPI", "2.13", "42.1"],
        ["FiLM", "2.13", "42.1"],
    ]
    assert found[block.replace("diffusion", "flow")] == [["DPI", "0.20000", "", "1", "", "1"]]

    # Runs of other images are not among them.
    rows = {"objective": [row("objective", 1.0)]}
    write_run(Path("runs"), ("diffusion", "drunet", "dpi"), rows, 5, TRAINED, scale="small")
    done = compared(command)
    message = f"error: {block}: its runs are of different images: give those of one data set\n"
    assert (done.status, done.err) == (1, message)


def test_the_figures_have_a_line_through_the_sizes_and_the_steps_of_each(command):
    for cond, worse in (("film", 2), ("tmap", 1)):
        for channels in ([8, 16], [16, 32]):
            for seed in range(3):
                by_step = [row("objective", worse * (1 + seed), t) for t in (0, 500, 999)]
                rows = {"objective": [row("objective", worse / channels[0], scalars=28), *by_step]}
                rows["complexity"] = [row("parameters", 1e4 * channels[0])]
                names = ("diffusion", "drunet", cond)
                own = {"cond.include": ["*.conv1"]} if cond == "film" else {}
                own |= {"arch.channels": channels} if channels[0] == 8 else {}
                write_run(Path("runs"), names, rows, seed, own)
    done = compared(command, "cost.png", "steps.svg")
    # Asterisks of patterns are no italics.
    assert r"| FiLM, channels = 8, 16, include = \*.conv1 |" in done.out, done.err
    assert Image.open("cost.png").size[0] > 300
    assert "relative to the t map" in Path("steps.svg").read_text()
    shutil.rmtree("runs")
    shutil.rmtree("report")
    add("film", 0, 0.05)
    done = compared(command, "cost.png", "steps.svg")
    message = "error: cost.png: no two conditionings have several sizes\n"
    assert (done.status, done.err) == (1, message)
