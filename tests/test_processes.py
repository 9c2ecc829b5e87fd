"""Several processes train one run, or several runs; they end together, and resume in any number."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT
from test_train import ONE_THREAD, OPTIONS, assert_close, logged

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
SAVED = "error: {}: saved at step {}, the same command resumes from it"


def step(run: Path) -> int:
    """How far a run is; 0 before it has begun."""
    try:
        return json.loads((run / "status.json").read_text())["step"]
    except FileNotFoundError:
        return 0


def wait(until: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def training(folder: Path, *overrides: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, ROOT / "train.py", *overrides],
        cwd=folder,
        env=ONE_THREAD,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()


def children(process: subprocess.Popen) -> list[int]:
    """Those that Lightning has started."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    named = {child: Path(f"/proc/{child}/cmdline") for child in listed}
    return [int(c) for c, path in named.items() if path.exists() and "_ddp_" in path.read_text()]


def begun(process: subprocess.Popen, run: Path) -> list[int]:
    """The processes that it has started, once they have taken some steps together."""
    wait(lambda: step(run) >= 5 or process.poll() is not None)
    return children(process)


def ended(process: int) -> bool:
    path = Path(f"/proc/{process}/stat")
    return not path.exists() or path.read_text().split()[2] == "Z"


def end(process: subprocess.Popen) -> tuple[int, list[str]]:
    """The exit status, and what was said of the end by this process and its children."""
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    said = ("error: ", "Forcefully terminating")  # Lightning's, where a step takes longer
    return process.returncode, [line for line in err.splitlines() if any(s in line for s in said)]


@contextmanager
def signalled(number: signal.Signals, when: Callable[[], object]) -> Iterator[None]:
    """Send this process a signal once something has happened."""

    def send() -> None:
        wait(when)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


KEPT = ["training.show.keep_every=2", "training.show.keep_best=true"]


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], [*OPTIONS, *KEPT]])
def test_two_processes_learn_what_one_does(command, tiny, tmp_path, monkeypatch, extra):
    """Here those of torchrun; below those that Lightning starts."""
    monkeypatch.setattr("dpi.training.datamodule.VAL_SCALARS", 100)  # as in another process
    overrides = [*tiny, *extra, "arch.dropout=0", "data.random_flip=true", "training.show.every=2"]
    command("train.py", *overrides, "run=one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = [*TWO, "trainer.strategy=ddp_find_unused_parameters_true", "run=two"]
    done = subprocess.run(
        [*torchrun, ROOT / "train.py", *overrides, *two],
        cwd=tmp_path,
        timeout=300,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "one", tmp_path / "two")
    assert done.stdout.count("next  ") == 1
    one, two = (sorted(path.name for path in Path(run).glob("*.ckpt")) for run in ("one", "two"))
    assert one == two and len(one) == (3 if extra else 1)
    for column in ("loss", "val_loss", "lr", "grad_norm"):
        one, two = (logged(tmp_path / run, column) for run in ("one", "two"))
        assert len(one) == (2 if column == "val_loss" else 3)
        assert two == pytest.approx(one, rel=1e-4), column


@pytest.mark.slow
def test_two_processes_that_are_stopped_or_killed_end_together_and_one_resumes(
    command, tiny, tmp_path
):
    train = [*tiny, "arch.dropout=0", "trainer.accumulate_grad_batches=2"]
    train += ["training.show.save_every=2"]
    stopped, killed = tmp_path / "stopped", tmp_path / "killed"
    for run in (stopped, killed):
        command("train.py", *train, f"run={run}", "training.steps=2")
    two = [*train, *TWO, "training.steps=1000"]
    with (
        training(tmp_path, *two, "run=stopped") as first,
        training(tmp_path, *two, "run=killed") as second,
    ):
        (child,) = begun(first, stopped)
        first.terminate()
        status, (line,) = end(first)
        assert status == 143 and line == SAVED.format("SIGTERM", step(stopped))
        wait(lambda: ended(child), 20)

        (child,) = begun(second, killed)
        os.kill(child, signal.SIGKILL)
        status, (line,) = end(second)
        assert status and ("the same command resumes" in line or "terminated with code -9" in line)
    for run in (stopped, killed):
        steps = f"training.steps={step(run) + 2}"
        done = command("train.py", *train, f"run={run}", steps)
        assert done.status == 0 and "resuming from step" in done.out, done.err
        command("train.py", *train, f"run=whole-{run.name}", steps)
        assert_close(tmp_path / f"whole-{run.name}", run)


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    child = "import time; from dpi.processes import end_with_parent; end_with_parent()"
    child += "; open('begun', 'w'); time.sleep(1000)"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent += "; open('child', 'w').write(str(p.pid)); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    wait((tmp_path / "begun").exists)
    process.kill()
    wait(lambda: ended(int((tmp_path / "child").read_text())))


def test_a_sweep_that_is_stopped_saves_its_run_and_starts_no_other(command, tiny):
    sweep = ["train.py", "-m", *tiny, "cond=dpi,tmap"]
    with signalled(signal.SIGTERM, lambda: any(step(p) > 1 for p in Path("outputs").glob("a*"))):
        done = command(*sweep, "training.steps=1000")
    (run,) = Path("outputs").glob("avatars-*")
    assert done.status == 143 and done.err.splitlines()[-1] == SAVED.format("SIGTERM", step(run))
    again = command(*sweep, f"training.steps={step(run) + 1}")
    assert again.status == 0 and again.out.count("resuming from step") == 1


def test_a_check_that_is_stopped_does_not_promise_to_resume(command, tiny):
    with signalled(
        signal.SIGTERM, lambda: any(step(p) > 1 for p in Path("outputs/check").glob("*"))
    ):
        done = command("train.py", *tiny, "experiment=check", "training.steps=1000")
    assert done.status == 143 and done.err.splitlines()[-1].endswith(": stopped, and was deleted")
    assert not list(Path("outputs/check").glob("*/*"))


def requeue(*_: object) -> None:
    """As submitit does at a job's time limit."""
    sys.exit(144)


@pytest.mark.parametrize(
    ("number", "handler", "expected"),
    [(signal.SIGUSR1, signal.SIG_DFL, 143), (signal.SIGUSR2, requeue, 144)],
)
def test_signals_of_slurm_save_first(number, handler, expected, command, tiny):
    before = signal.signal(number, handler)
    try:
        with signalled(number, lambda: step(Path("it")) > 1):
            done = command("train.py", *tiny, "run=it", "training.steps=1000")
    finally:
        signal.signal(number, before)
    assert done.status == expected, done.err
    steps = step(Path("it"))
    again = command("train.py", *tiny, "run=it", f"training.steps={steps + 1}")
    assert f"resuming from step {steps}" in again.out


def test_strategies_that_are_not_tested_are_refused(command, tiny):
    for strategy in ("fsdp", "ddp_spawn", "ddp_notebook", "deepspeed", "dp"):
        done = command("train.py", *tiny, *TWO, f"trainer.strategy={strategy}", "run=it")
        (line,) = done.err.splitlines()
        assert done.status == 1 and line.startswith(f"error: trainer.strategy={strategy}: ")
        assert not Path("it").exists()
