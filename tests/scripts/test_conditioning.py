"""Conditionings are compared at their best settings, seed by seed."""

from pathlib import Path

from tests.reporting.made_up import row, write_run

from dpi.reporting import report

TRAINED = {"framework.precondition": True}
"""What all runs set."""


def add(cond: str, seed: int, mean: float, framework: str = "diffusion", **settings) -> None:
    rows = {"objective": [row("objective", mean, scalars=28)]}
    own = {key.replace("_", ".", 1): value for key, value in settings.items()}
    write_run(Path("runs"), (framework, "drunet", cond), rows, seed, TRAINED | own)


def compared(command, *figures: str, **how):
    report(Path("runs"), Path("report"))
    return command("scripts/conditioning.py", "report/*/results.csv", *figures, **how)


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
    # Seed 0, which chose the settings, is not among the four that are compared.
    film, dpi, tmap = found[block]
    settings = ["4", "dropout = 0, lr = 0.002", "2"]
    assert film == ["FiLM", "0.05010", "-16.6 ± 0.0 *", "-3.9 ± 0.1 *", *settings]
    assert dpi == ["DPI", "0.05215", "-13.2 ± 0.1 *", "", "4", "", "2"]
    assert tmap == ["t map", "0.06008", "", "+15.2 ± 0.1 *", "5", "", "1"]
    assert found[block.replace("diffusion", "flow")] == [["DPI", "0.20000", "", "", "1", "", "1"]]

    # Runs of other images are not among them.
    rows = {"objective": [row("objective", 1.0)]}
    write_run(Path("runs"), ("diffusion", "drunet", "dpi"), rows, 5, TRAINED, scale="small")
    message = f"error: {block}: its runs are of different images: give those of one data set\n"
    assert compared(command, status=1).err == message


def test_the_figure_has_the_errors_at_each_step(command):
    for cond, worse in (("film", 2), ("tmap", 1)):
        for seed in range(3):
            by_step = [row("objective", worse * (1 + seed), t) for t in (0, 500, 999)]
            rows = {"objective": [row("objective", worse / 16, scalars=28), *by_step]}
            own = {"cond.include": ["*.conv2"]} if cond == "film" else {}
            write_run(Path("runs"), ("diffusion", "drunet", cond), rows, seed, own)
    done = compared(command, "steps.svg")
    # Asterisks of patterns are no italics.
    assert r"| FiLM, include = \*.conv2 |" in done.out, done.err
    assert "relative to the t map" in Path("steps.svg").read_text()
