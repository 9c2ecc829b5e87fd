"""python status.py: the state of every run in a folder."""

from pathlib import Path

from dpi.runs.lock import lock
from dpi.runs.status import Status


def test_it_shows_the_state_of_every_run(command, tiny):
    assert "make table2" in command("status.py").err
    assert command("train.py", *tiny, "run=outputs/done").status == 0
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
