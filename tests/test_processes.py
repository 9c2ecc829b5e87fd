"""Processes that are asked to end save, and end together; a run resumes in any number of them."""

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
from test_train import OPTIONS, assert_close, assert_equal, logged

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
SAVED = "error: {}: saved at step {}, the same command resumes from it"
KEPT = ["training.show.keep_every=2", "training.show.keep_best=true"]


def step(run: Path) -> int:
    """How far a run is; 0 before it has begun."""
    try:
        return json.loads((run / "status.json").read_text())["step"]
    except FileNotFoundError:
        return 0


def wait(until: Callable[[], object], seconds: float = 1200) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def started(folder: Path, *overrides: str) -> Iterator[subprocess.Popen]:
    """A training in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "train.py", *overrides],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()


def second(process: subprocess.Popen, run: Path) -> int:
    """The process that Lightning has started, once both have taken some steps together."""
    wait(lambda: step(run) >= 5 or process.poll() is not None)
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (child,) = (int(c) for c in listed if "_ddp_" in Path(f"/proc/{c}/cmdline").read_text())
    return child


def ended(process: int) -> bool:
    path = Path(f"/proc/{process}/stat")
    return not path.exists() or path.read_text().split()[2] == "Z"


def end(process: subprocess.Popen) -> tuple[int, list[str]]:
    """The exit status, and what was said of the end by this process and its children."""
    _, err = process.communicate(timeout=1200)
    assert "Traceback" not in err, err
    said = ("error: ", "Forcefully terminating")  # Lightning's, where a step takes longer
    return process.returncode, [line for line in err.splitlines() if any(s in line for s in said)]


@contextmanager
def signalled(number: signal.Signals, when: Callable[[], object]) -> Iterator[None]:
    """Send this process a signal once something has happened."""
    over = threading.Event()

    def send() -> None:
        wait(lambda: over.is_set() or when())
        if not over.is_set():
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def requeue(*_: object) -> None:
    """As submitit does at a job's time limit."""
    sys.exit(144)


@pytest.mark.parametrize(
    ("number", "handler", "expected"),
    [
        (signal.SIGTERM, signal.SIG_DFL, 143),
        (signal.SIGINT, signal.default_int_handler, 130),
        (signal.SIGUSR1, signal.SIG_DFL, 143),
        (signal.SIGUSR2, requeue, 144),
    ],
)
def test_a_signal_saves_says_so_and_exits(number, handler, expected, command, tiny):
    train = ["train.py", *tiny, "run=it", "trainer.accumulate_grad_batches=2"]
    before = signal.signal(number, handler)
    try:
        with signalled(number, lambda: step(Path("it")) > 1):
            done = command(
                *train, "training.steps=1000", "training.show.save_every=1000", status=expected
            )
    finally:
        signal.signal(number, before)
    steps = step(Path("it"))
    assert 1 < steps < 1000, done.err
    if number != signal.SIGUSR2:  # of which submitit says so
        assert done.err.splitlines()[-1] == SAVED.format(number.name, steps)
    again = command(*train, f"training.steps={steps + 1}")
    assert f"resuming from step {steps}" in again.out
    if number == signal.SIGTERM:
        command(*train, f"training.steps={steps + 1}", "run=whole")
        assert_equal(Path("whole"), Path("it"))


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tiny, tmp_path):
    batch = ["training.batch_size=8192", "trainer.accumulate_grad_batches=1024"]
    with started(tmp_path, *tiny, "run=it", *batch) as process:
        wait((tmp_path / "it/status.json").exists)  # a step takes several seconds
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "Ctrl-C again" in line:
                break
        process.send_signal(signal.SIGINT)
        said = "error: interrupted: the same command resumes from the last checkpoint"
        assert end(process) == (130, [said])
    assert not (tmp_path / "it/last.ckpt").exists()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_evaluation_that_is_stopped_says_so(number, expected, command, run):
    run()
    evaluate = ["evaluate.py", "run=run", "eval=objective", "effort=paper", "accelerator=cpu"]
    with signalled(number, lambda: list(Path("data/cache").glob("*/*/errors*"))):
        done = command(*evaluate, "eval.objective.pictures=8", status=expected)
    assert done.err.splitlines()[-1].startswith("error: ")


def test_a_sweep_that_is_stopped_saves_its_run_and_starts_no_other(command, tiny):
    sweep = ["train.py", "-m", *tiny, "cond=dpi,tmap"]
    with signalled(signal.SIGTERM, lambda: any(step(p) > 1 for p in Path("outputs").glob("a*"))):
        done = command(*sweep, "training.steps=1000", status=143)
    (run,) = Path("outputs").glob("avatars-*")
    assert done.err.splitlines()[-1] == SAVED.format("SIGTERM", step(run))
    again = command(*sweep, f"training.steps={step(run) + 1}")
    assert again.out.count("resuming from step") == 1


def test_a_check_that_is_stopped_does_not_promise_to_resume(command, tiny):
    checks = Path("outputs/check")
    with signalled(signal.SIGTERM, lambda: any(step(path) > 1 for path in checks.glob("*"))):
        done = command("train.py", *tiny, "experiment=check", "training.steps=1000", status=143)
    assert done.err.splitlines()[-1].endswith(": stopped, and was deleted")
    assert not list(checks.glob("*/*"))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(command, tiny, tmp_path, monkeypatch):
    """Here those of torchrun; below those that Lightning starts."""
    monkeypatch.setattr("dpi.training.datamodule.VAL_SCALARS", 100)  # as in another process
    overrides = [*tiny, *OPTIONS, *KEPT, "arch.dropout=0", "data.random_flip=true"]
    overrides += ["training.show.every=2"]
    command("train.py", *overrides, "run=one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = [*TWO, "trainer.strategy=ddp_find_unused_parameters_true", "run=two"]
    process = [*torchrun, ROOT / "train.py", *overrides, *two]
    done = subprocess.run(process, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "one", tmp_path / "two")
    assert done.stdout.count("next  ") == 1
    one, two = (sorted(path.name for path in Path(run).glob("*.ckpt")) for run in ("one", "two"))
    assert one == two and len(one) == 3
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
    two = [*train, *TWO, "training.steps=1000"]
    with (
        started(tmp_path, *two, "run=stopped") as stopped,
        started(tmp_path, *two, "run=killed") as killed,
    ):
        child = second(stopped, tmp_path / "stopped")
        stopped.terminate()
        status, (line,) = end(stopped)
        assert status == 143 and line == SAVED.format("SIGTERM", step(tmp_path / "stopped"))
        wait(lambda: ended(child))

        os.kill(second(killed, tmp_path / "killed"), signal.SIGKILL)
        status, (line,) = end(killed)
        assert status and ("the same command resumes" in line or "terminated with code -9" in line)
    steps = f"training.steps={step(Path('stopped')) + 2}"
    done = command("train.py", *train, "run=stopped", steps)
    assert "resuming from step" in done.out, done.err
    command("train.py", *train, "run=whole", steps)
    assert_close(Path("whole"), Path("stopped"))
    done = command("train.py", *train, "run=killed", f"training.steps={step(Path('killed')) + 2}")
    assert "resuming from step" in done.out, done.err


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    child = "import time; from dpi.processes import end_with_parent; end_with_parent()"
    child += "; open('begun', 'w'); time.sleep(1000)"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent += "; open('child', 'w').write(str(p.pid)); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    wait((tmp_path / "begun").exists)
    process.kill()
    wait(lambda: ended(int((tmp_path / "child").read_text())))
