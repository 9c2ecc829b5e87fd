"""Sweeps: which runs they are made of, and that nothing done, failed or killed upsets them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from dpi.errors import UserError
from dpi.state import State, claim, is_claimed, read_state
from dpi.sweeps.plan import jobs
from dpi.sweeps.status import duration

ROOT = Path(__file__).parents[2]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
SHOWN = ["evaluation.pictures=4", "evaluation.every=333"]
PARSE = OverridesParser.create().parse_overrides

DRUNET = {("diffusion", "drunet", cond) for cond in ("ncsnv2", "sigmamap", "tmap", "dpi")}
ADM = {("diffusion", "adm", cond) for cond in ("ncsnv2", "sigmamap", "tmap", "mlp", "dpi")}
FLOW = {("flow", "drunet", "tmap"), ("flow", "drunet", "dpi")} | {
    ("flow", "adm", cond) for cond in ("tmap", "mlp", "dpi")
}
LINEAR = {(f, a, "dpi", "linear") for f in ("diffusion", "flow") for a in ("drunet", "adm")}


def rows_of(sweep: str) -> list[str]:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", [f"sweep={sweep}"], return_hydra_config=True)
    return list(cfg.hydra.sweeper.rows)


def words_of(job: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in job)


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("table2", DRUNET | ADM),
        ("table3", DRUNET | ADM | FLOW),
        (
            "table4",
            {row for row in DRUNET | ADM if row[2] != "sigmamap"},
        ),
        ("table5", LINEAR | {(*row[:3], "learnable") for row in LINEAR}),
        ("tables", DRUNET | ADM | FLOW | LINEAR),
    ],
)
def test_a_sweep_is_the_papers_rows(sweep, expected):
    keys = ("framework", "arch", "cond", "cond.schedule")
    found = [words_of(job) for job in jobs(rows_of(sweep), [], PARSE)]
    rows = [tuple(words[key] for key in keys if key in words) for words in found]
    assert set(rows) == expected and len(rows) == len(expected)


def test_words_of_the_command_line_pick_from_rows_and_multiply_them():
    rows = ["arch=drunet cond=tmap,dpi", "arch=adm cond=mlp,dpi"]
    assert jobs(rows, ["cond=dpi,mlp", "arch=adm", "seed=0,1"], PARSE) == [
        ["arch=adm", "cond=mlp", "seed=0"],
        ["arch=adm", "cond=mlp", "seed=1"],
        ["arch=adm", "cond=dpi", "seed=0"],
        ["arch=adm", "cond=dpi", "seed=1"],
    ]
    with pytest.raises(UserError, match="no run of this sweep has arch=drunet cond=mlp"):
        jobs(rows, ["arch=drunet", "cond=mlp", "seed=0"], PARSE)


@given(st.lists(st.sampled_from("abcd"), min_size=1, unique=True), st.integers(1, 4))
def test_without_rows_a_sweep_is_every_combination(options, seeds):
    words = [f"cond={','.join(options)}", f"seed={','.join(map(str, range(seeds)))}"]
    found = jobs([], words, PARSE)
    assert len(found) == len(options) * seeds == len(set(map(tuple, found)))


def test_the_command_again_does_what_is_left(command, tiny):
    words = ["-m", *tiny, *SHOWN, "cond=mlp,tmap,dpi", "evaluate=[objective]"]
    first = command("train.py", *words)
    assert first.status == 1 and "Traceback" not in first.err
    assert "1 failed" in first.out and "cond=mlp modulates normalisation" in first.out
    (dpi,) = Path("outputs").glob("*-dpi-*")
    stamps = {path: path.stat().st_mtime_ns for path in dpi.rglob("*.*")}

    # What was done is not touched; a lost evaluation is made anew; what failed is tried again.
    (tmap,) = Path("outputs").glob("*-tmap-*")
    state = read_state(tmap)
    state.evaluated = {}
    state.write(tmap)
    again = command("train.py", *words)
    assert again.status == 1 and "3 runs, 1 of them done" in again.out
    assert "is finished: 3 steps" in again.out and "objective of outputs" in again.out
    assert {path: path.stat().st_mtime_ns for path in dpi.rglob("*.*")} == stamps

    longer = command("train.py", *words, "training.steps=5", "cond=dpi,tmap")
    assert longer.status == 0, longer.err
    assert "2 runs, 0 of them done" in longer.out and "going on from step 3" in longer.out
    rows = json.loads((dpi / "evaluation/objective.json").read_text())
    assert {row["step"] for row in rows} == {3, 5}


def test_settings_name_the_run(command, tiny):
    done = command("train.py", "-m", *tiny, "cond.schedule=linear,learnable", "tag=it")
    assert done.status == 0, done.err
    names = sorted(path.name for path in Path("outputs").glob("avatars-*"))
    assert len(names) == 2
    assert "-schedule_linear" in names[1] and "schedule" not in names[0]
    assert all(name.endswith("-it") and "-channels_4_8-" in name for name in names)


def test_two_runs_in_one_folder_are_refused(command, tiny):
    done = command("train.py", "-m", *tiny, "run=it", "seed=0,1")
    assert done.status == 1 and "would go into it" in done.err and "tag=" in done.err
    assert not Path("it").exists()


def test_a_sweep_that_does_not_exist_is_named(command, tiny):
    done = command("train.py", *tiny, "sweep=table9")
    assert done.status != 0 and "table9" in done.err and "table5" in done.err


def test_a_sweep_does_not_start_itself_anew_for_every_device(command, tiny):
    words = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "cond=dpi,tmap"]
    done = command("train.py", "-m", *tiny, *words)
    assert done.status == 1 and done.err.count("each run has one device") == 2


def test_a_launcher_that_cannot_start_is_one_line(command, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no srun
    done = command("train.py", "-m", *tiny, "cond=dpi,tmap", "hydra/launcher=submitit_slurm")
    assert done.status == 1 and "the launcher stopped" in done.err and "srun" in done.err
    assert "Traceback" not in done.err and "2 waiting" in done.out


def test_evaluations_are_checked_before_the_training(command, tiny):
    done = command("train.py", *tiny, "run=it", "evaluate=[fid]")
    assert done.status == 1 and "choose from" in done.err and not Path("it").exists()
    done = command("train.py", *tiny, "run=it", "evaluate=[objective]", "evaluation.every=0")
    assert done.status == 1 and "every=0" in done.err and not Path("it").exists()


def test_a_run_has_one_process_at_a_time(command, tiny, tmp_path):
    run = Path("it")
    with claim(run):
        assert is_claimed(run)
        done = command("train.py", *tiny, "run=it")
        assert done.status == 1 and f"process {os.getpid()} on" in done.err
    assert not is_claimed(run) and not run.exists()
    assert command("train.py", *tiny, "run=it").status == 0
    with claim(run / "evaluation"):
        done = command("evaluate.py", "run=it", "eval=objective", "pictures=4", "every=333")
        assert done.status == 1 and "it/evaluation is being worked on" in done.err


def test_a_killed_process_holds_nothing(tmp_path):
    code = "import sys,time; from dpi.state import claim; from pathlib import Path\n"
    code += "with claim(Path('it')): print('mine', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"mine\n" and is_claimed(tmp_path / "it")
    process.kill()
    process.wait()
    assert not is_claimed(tmp_path / "it")


def test_status_tells_how_each_run_stands(command, tiny, capfd):
    assert "make table2" in command("status.py").err
    command("train.py", "-m", *tiny, "cond=mlp,tmap,dpi,sigmamap")
    (done,) = Path("outputs").glob("*-tmap-*")
    (running,) = Path("outputs").glob("*-dpi-*")
    (interrupted,) = Path("outputs").glob("*-sigmamap-*")
    (failed,) = Path("outputs").glob("*-mlp-*")
    State(2, 75.0, "training").write(running)
    State(1, 80.0, "training").write(interrupted)
    with claim(running):
        out = command("status.py").out
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line}
    assert lines[done.name] == "done 3 of 3"
    assert lines[running.name] == "running 2 of 3 75 s left"
    assert lines[interrupted.name] == "interrupted 1 of 3 training"
    assert lines[failed.name].startswith("failed 0 of 3 cond=mlp modulates")
    assert out.strip().endswith("1 failed, 1 done, 1 running, 1 interrupted")
    assert duration(300) == "5 min" and duration(4 * 3600 + 300) == "4 h 05 min"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers_give_the_rows_that_one_after_the_other_gives(command, tiny, tmp_path, launcher):
    words = ["-m", *tiny, *SHOWN, "cond=dpi,tmap", "evaluate=[objective]"]
    assert command("train.py", *words).status == 0
    others = tmp_path / "others"
    others.mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *words, f"hydra/launcher={launcher}"],
        cwd=others,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stdout
    assert evaluated(others) == evaluated(tmp_path)


@pytest.mark.slow
def test_a_killed_sweep_ends_in_the_rows_of_one_never_killed(command, tiny, tmp_path):
    words = ["-m", *tiny, *SHOWN, "cond=dpi,tmap", "evaluate=[objective]"]
    words += ["training.steps=40", "training.show.save_every=2", "evaluation.noise_seeds=8"]
    start = time.monotonic()
    assert command("train.py", *words).status == 0
    whole = time.monotonic() - start
    killed = tmp_path / "killed"
    killed.mkdir()
    chance = random.Random(0)
    launch = [sys.executable, ROOT / "train.py", *words]
    for _ in range(3):
        process = subprocess.Popen(
            launch, cwd=killed, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not list(killed.glob("outputs/avatars*/state.json")):
            time.sleep(0.05)
        time.sleep(chance.uniform(0, whole))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(launch, cwd=killed, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert evaluated(killed) == evaluated(tmp_path)


def evaluated(folder: Path) -> dict[str, list]:
    paths = sorted(folder.glob("outputs/*/evaluation/*.json"))
    assert len(paths) == 2
    return {path.parts[-3]: json.loads(path.read_text()) for path in paths}
