"""python status.py: the state of every run in a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

from dpi.runs.lock import lock
from dpi.runs.rows import read_rows
from dpi.runs.status import Status


def test_it_shows_the_state_of_every_run(command, run):
    assert "make table2" in command("status.py", status=1).err
    Path("outputs").mkdir()
    run().rename("outputs/done")
    steps = Path("outputs/done/config.yaml").read_text()
    for name, content in (("damaged", "- ["), ("other", "training: 3"), ("cut", steps)):
        Path("outputs", name).mkdir()
        Path("outputs", name, "config.yaml").write_text(content)
    Status(2, 10.0, 75.0, "training").write(Path("outputs/cut"))
    Status(failed="trainer settings").write(Path("outputs/early"))
    lines = command("status.py").out.splitlines()
    shown = {" ".join(line.split()) for line in lines}
    assert {
        "interrupted 2 of 3 cut training",
        "damaged damaged config.yaml cannot be read",
        "damaged other config.yaml cannot be read",
        "failed early trainer settings",
        "2 damaged, 1 interrupted, 1 done, 1 failed",
    } <= shown, shown
    assert any(line.startswith("done 3 of 3 done ") for line in shown)
    with lock(Path("outputs/cut")):
        assert "running  2 of 3  cut  01:15 left" in command("status.py").out


def test_a_folder_that_cannot_be_written_is_shown_and_evaluated(run, tmp_path):
    Path("outputs").mkdir()
    run = Path(shutil.move(run(), "outputs"))
    for path in (run, *run.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    # Root may write whatever the permissions say, unless it gives that up.
    plain = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    for words in (
        ["status.py"],
        ["evaluate.py", "run=outputs/run", "eval=interpolation", "out=rows.json"],
    ):
        command = [*plain, sys.executable, str(ROOT / words[0]), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and "run" in done.stdout, done.stderr
    assert len(read_rows(tmp_path / "rows.json")) == 1000
