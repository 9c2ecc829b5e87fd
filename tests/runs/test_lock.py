"""One process at a time for a folder, and a killed one holds nothing."""

import os
import subprocess
import sys
from pathlib import Path

from dpi.runs.lock import is_locked, lock


def test_a_run_has_one_process_at_a_time(command, tiny):
    run = Path("it")
    with lock(run):
        assert is_locked(run)
        done = command("train.py", *tiny, "run=it")
        assert done.status == 1 and f"it is locked by process {os.getpid()} on" in done.err
    assert not is_locked(run) and not run.exists()
    assert command("train.py", *tiny, "run=it").status == 0
    with lock(run / "evaluation"):
        done = command("evaluate.py", "run=it", "eval=interpolation")
        assert done.status == 1 and "it/evaluation is locked by" in done.err


def test_a_killed_process_holds_nothing(tmp_path):
    code = "import time; from dpi.runs.lock import lock; from pathlib import Path\n"
    code += "with lock(Path('it')): print('mine', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"mine\n" and is_locked(tmp_path / "it")
    process.kill()
    process.wait()
    assert not is_locked(tmp_path / "it")
