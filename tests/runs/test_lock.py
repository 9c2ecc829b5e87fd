"""One process at a time for a folder, and a killed one holds nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dpi import experiment
from dpi.runs.lock import is_locked, lock


def test_a_run_has_one_process_at_a_time(command, tiny):
    run = Path("it")
    with lock(run):
        assert is_locked(run)
        command("train.py", *tiny, "run=it", error=f"it is locked by process {os.getpid()} on")
    assert not is_locked(run) and not run.exists()
    command("train.py", *tiny, "run=it")


def test_an_evaluation_has_one_process_at_a_time_and_others_go_on(command, run):
    run = run()
    with lock(run / "evaluation", "interpolation"):
        done = command("evaluate.py", "run=run", "eval=[interpolation,samples]", status=1)
        assert "interpolation of run is locked by process" in done.err
        grid = ["eval=samples", "eval.samples.grid=2", "eval.samples.steps=2"]
        command("evaluate.py", "run=run", *grid, "accelerator=cpu")
    command("evaluate.py", "run=run", "eval=interpolation")


def test_processes_that_want_one_folder_neither_crash_nor_share_it(tmp_path):
    """The owner removes the folder when nothing was written to it, as others wait."""
    code = "from dpi.runs.lock import lock; from pathlib import Path; import os\n"
    code += "for _ in range(100):\n with lock(Path('it')): os.close(os.open('one', os.O_CREAT | "
    code += "os.O_EXCL)); os.unlink('one')"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[1] for process in processes] == [b""] * 4
    assert not list(tmp_path.iterdir())


def test_a_killed_process_holds_nothing(tmp_path):
    code = "import time; from dpi.runs.lock import lock; from pathlib import Path\n"
    code += "with lock(Path('it')): print('mine', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"mine\n" and is_locked(tmp_path / "it")
    process.kill()
    process.wait()
    assert not is_locked(tmp_path / "it")


def test_a_link_to_nothing_is_named_and_not_waited_for(command, tiny):
    Path("outputs").symlink_to("gone")
    command("train.py", *tiny, error="outputs is a link to nothing: repair")


def test_a_run_that_another_command_began_meanwhile_is_not_resumed(
    command, tiny, trained, monkeypatch
):
    def another(*_):
        shutil.copytree(trained("diffusion", "drunet", "dpi"), "it")

    monkeypatch.setattr(experiment, "check_trainer", another)
    done = command("train.py", *tiny, "run=it", "seed=7", "training.steps=9", status=1)
    assert "it holds a run with other settings (seed was 0" in done.err
    assert "steps: 3" in Path("it/config.yaml").read_text()
