"""python train.py -m: Hydra's sweeps; what is done is skipped, one failure stops no other."""

import json
import re
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from conftest import ROOT, composed
from omegaconf import OmegaConf
from test_processes import end, started, wait
from test_train import assert_equal

from dpi.errors import Excluded
from dpi.runs.build import build_meta
from dpi.runs.checkpoint import load_checkpoint
from dpi.runs.lock import lock
from dpi.runs.status import read_status

OBJECTIVE = ["eval=[objective]", "eval.objective.pictures=4"]

DRUNET = {("diffusion", "drunet", cond) for cond in ("ncsnv2", "sigmamap", "tmap", "dpi")}
ADM = {("diffusion", "adm", cond) for cond in ("ncsnv2", "sigmamap", "tmap", "mlp", "dpi")}
FLOW = {("flow", "drunet", "tmap"), ("flow", "drunet", "dpi")} | {
    ("flow", "adm", cond) for cond in ("tmap", "mlp", "dpi")
}


@cache
def is_excluded(framework: str, arch: str, cond: str) -> bool:
    try:
        build_meta(composed(f"framework={framework}", f"arch={arch}", f"cond={cond}"))
    except Excluded:
        return True
    return False


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("table2", DRUNET | ADM),
        ("table3", DRUNET | ADM | FLOW),
        ("table4", {row for row in DRUNET | ADM if row[2] != "sigmamap"}),
        ("table5", {row for row in DRUNET | ADM | FLOW if row[2] == "dpi"}),
        ("figures", DRUNET | ADM | FLOW),
        ("tables", DRUNET | ADM | FLOW),
    ],
)
def test_a_sweep_is_the_papers_rows(sweep, expected):
    """The Cartesian product, less what is excluded."""
    cfg = composed(f"sweep={sweep}")
    params = cfg.hydra.sweeper.params
    assert list(params) == ["framework", "arch", "cond"]
    rows = product(*(choices.split(",") for choices in params.values()))
    assert {row for row in rows if not is_excluded(*row)} == expected


def test_the_sweep_of_conditionings_has_what_is_best():
    """Which parts of the network have two sets, and whether there is FiLM, in each grid of make."""
    make = ["make", "-s", "conditioning", "PYTHON=echo", "SCALE=mini"]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = [line.split()[1:] for line in printed.splitlines() if line.startswith("train.py")]
    found = set()
    for overrides in commands:
        cfg = composed(*overrides)
        names = " ".join(name for name, _ in build_meta(cfg).named_parameters())
        parts = re.findall(r"theta1\.(?:network\.)?(head|tail|body|(?:en|de)coder\.\d)", names)
        found.add((" ".join(sorted(set(parts))), "project.weight" in names))
    every = "body decoder.0 decoder.1 decoder.2 encoder.0 encoder.1 encoder.2 head tail"
    finest = "decoder.2 encoder.0 head tail"
    assert found == {(every, False), ("", True), (finest, False), (finest, True)}


def test_what_the_method_excludes_is_skipped(command, tiny):
    done = command("train.py", "-m", *tiny, "cond=mlp,tmap", "framework=diffusion,flow")
    lines = [line for line in done.out.splitlines() if line.startswith("skipped: ")]
    assert len(lines) == 2 and "cond=mlp: this architecture" in lines[0]
    assert "4 runs: 2 done, 2 skipped" in done.out
    assert len(list(Path("outputs").glob("avatars-*"))) == 2


def test_the_command_again_does_what_is_left(command, tiny):
    overrides = ["-m", *tiny, *OBJECTIVE, "cond=dpi,tmap,sigmamap"]
    command("train.py", *overrides)
    (dpi,) = Path("outputs").glob("*-dpi-*")
    (tmap,) = Path("outputs").glob("*-tmap-*")
    (sigmamap,) = Path("outputs").glob("*-sigmamap-*")
    stamps = {path: path.stat().st_mtime_ns for path in dpi.rglob("*.ckpt")}

    # A lost evaluation is computed again; what failed is tried again; the rest is not touched.
    status = read_status(tmap)
    status.evaluated = {}
    status.write(tmap)
    (sigmamap / "last.ckpt").write_bytes(b"damaged")
    (sigmamap / "samples/step_0000003.png").unlink()
    again = command("train.py", *overrides, status=1)
    assert "3 runs: 2 done, 1 failed" in again.out
    assert f"failed: {sigmamap.name}: {sigmamap}/last.ckpt" in again.err
    assert again.err.splitlines()[-1].startswith("error: not all runs are done")
    assert f"{dpi} is finished: 3 steps" in again.out and f"objective of {tmap}" in again.out
    assert {path: path.stat().st_mtime_ns for path in dpi.rglob("*.ckpt")} == stamps
    assert "last.ckpt" in read_status(sigmamap).failed

    (sigmamap / "last.ckpt").unlink()
    third = command("train.py", *overrides)
    assert "3 runs: 3 done" in third.out
    assert read_status(sigmamap).failed is None
    longer = command("train.py", *overrides, "training.steps=5", "cond=dpi")
    assert "resuming from step 3" in longer.out
    rows = json.loads((dpi / "evaluation/objective.json").read_text())
    assert {row["step"] for row in rows} == {3, 5}


def test_two_runs_in_one_folder_are_refused(command, tiny, run):
    run()
    done = command("train.py", "-m", *tiny, "run=run", "seed=0,1", status=1)
    assert "2 runs: 1 done, 1 failed" in done.out
    assert "run holds a run with other settings (seed was 0, now 1)" in done.err
    assert OmegaConf.load("run/config.yaml").seed == 0


def test_a_run_of_another_process_is_left_to_it(command, tiny):
    with lock(Path("run0")):
        done = command("train.py", "-m", *tiny, "run=run${seed}", "seed=0,1", status=1)
    assert "failed: run0: run0 is locked by process" in done.err
    assert "2 runs: 1 done, 1 failed" in done.out


def test_a_sweep_does_not_start_once_more_for_every_device(command, tiny):
    overrides = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "cond=dpi,tmap"]
    done = command("train.py", "-m", *tiny, *overrides, status=1)
    assert done.err.count("failed: ") == 2
    assert "each run has one device" in done.err


def test_a_launcher_that_cannot_start_is_one_line(command, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no srun
    done = command(
        "train.py", "-m", *tiny, "cond=dpi,tmap", "hydra/launcher=submitit_slurm", status=1
    )
    assert "the launcher stopped" in done.err and "srun" in done.err
    assert "Traceback" not in done.err


def swept(folder: Path, *words: str) -> str:
    """What a sweep prints in a process of its own: bits may depend on what a process did before."""
    process = [sys.executable, ROOT / "train.py", "-m", *words, *OBJECTIVE]
    done = subprocess.run(process, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and " done, 1 skipped" in done.stdout, done.stderr
    return done.stdout


@pytest.mark.slow
def test_submitit_gives_the_rows_of_runs_in_turn(command, tiny, tmp_path):
    words = [*tiny, "cond=tmap,mlp"]
    command("train.py", "-m", *words, *OBJECTIVE)
    others = tmp_path / "others"
    others.mkdir()
    assert "2 runs: 1 done, 1 skipped" in swept(others, *words, "hydra/launcher=submitit_local")
    assert evaluated(others / "outputs") == evaluated(tmp_path / "outputs")


@pytest.mark.slow
def test_runs_that_joblib_kills_end_in_the_weights_and_rows_of_runs_in_turn(tiny, tmp_path):
    words = [*tiny, "cond=dpi,tmap,mlp", "training.show.save_every=2"]
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    begun = (tmp_path / "outputs").glob
    with started(tmp_path, "-m", *words, *joblib, "training.steps=1000") as process:
        wait(lambda: len(list(begun("*/last.ckpt"))) == 2 or process.poll() is not None)
        process.terminate()
        status, (line,) = end(process)
    assert status == 143
    assert line == "error: SIGTERM: stopped; the same command resumes from what was saved"
    runs = list(begun("avatars-*"))
    steps = max(load_checkpoint(run / "last.ckpt")["global_step"] for run in runs)
    words.append(f"training.steps={steps}")
    assert "resuming from step" in swept(tmp_path, *words, *joblib)
    killed = (tmp_path / "outputs").rename(tmp_path / "killed")
    swept(tmp_path, *words)
    assert evaluated(killed) == evaluated(tmp_path / "outputs")
    for run in runs:
        assert_equal(run, killed / run.name)


def evaluated(folder: Path) -> dict[str, list]:
    paths = sorted(folder.rglob("evaluation/*.json"))
    assert paths
    return {path.parts[-3]: json.loads(path.read_text()) for path in paths}
