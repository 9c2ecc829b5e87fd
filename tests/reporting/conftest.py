"""Folders of runs for the report."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path

import pytest
from reporting.made_up import (
    MEASURED,
    papers_rows,
    printed,
    row,
    save_samples,
    write_log,
    write_run,
)

from dpi.reporting import report


@pytest.fixture
def runs(tmp_path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def make_run(runs) -> Callable[..., Path]:
    """write_run into the folder `runs`."""
    return lambda *args, **kwargs: write_run(runs, *args, **kwargs)


@pytest.fixture(scope="session")
def papers_runs(tmp_path_factory) -> Path:
    """All runs of the paper's tables with two seeds, whose means are the paper's numbers."""
    runs = tmp_path_factory.mktemp("paper") / "runs"
    for kind in printed("table3"):
        for seed, times in enumerate((0.999, 1.001)):
            folder = write_run(runs, kind, papers_rows(*kind, times), seed)
            save_samples(folder / "evaluation" / "samples.png", seed)
            status = {"step": 3000, "seconds": 60.0 * (seed + 1)}
            (folder / "status.json").write_text(json.dumps(status))
            write_log(folder, 0, {step: (9 / step, 8 / step) for step in range(1, 400)})
    for arch, framework in product(("drunet", "adm"), ("diffusion", "flow")):
        number = printed("table5")[None, arch, "λ(s) = s"][framework]
        for seed, times in enumerate((0.999, 1.001)):
            rows = {"objective": [row("objective", number * times, **MEASURED, scalars=1000)]}
            write_run(runs, (framework, arch, "dpi"), rows, seed, {"cond.schedule": "linear"})
    return runs


@pytest.fixture(scope="session")
def papers_report(papers_runs, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a report of these runs, and what was printed."""
    out = tmp_path_factory.mktemp("report")
    said = io.StringIO()
    with redirect_stdout(said):
        report(papers_runs, out, paper=True)
    return out / "avatars-mini", said.getvalue()
