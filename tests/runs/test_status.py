"""python status.py: every run of a folder, in lines that fit the terminal."""

import re
from pathlib import Path

from dpi.runs.lock import lock
from dpi.runs.status import Status, duration


def lines(out: str) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line}


def test_it_shows_the_state_of_every_run(command, tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert "make table2" in command("status.py").err
    command("train.py", *tiny)  # by itself, in no sweep
    command(
        "train.py", "-m", *tiny, "cond=tmap,sigmamap,ncsnv2", "+trainer.gradient_clip_algorithm=x"
    )
    (failed, *_) = Path("outputs").glob("*-tmap-*")
    command("train.py", "-m", *tiny, "cond=dpi,sigmamap", "seed=1")
    (done,) = Path("outputs").glob("*-dpi-*-seed0-*")
    (running,) = Path("outputs").glob("*-dpi-*-seed1-*")
    (interrupted,) = Path("outputs").glob("*-sigmamap-*-seed1-*")
    Status(2, 10.0, 75.0, "training").write(running)
    Status(1, 5.0, 80.0, "training").write(interrupted)
    with lock(running):
        out = command("status.py").out
    found = lines(out)
    assert found[done.name].startswith("done 3 of 3")
    assert found[running.name] == "running 2 of 3 75 s left"
    assert found[interrupted.name] == "interrupted 1 of 3 training"
    assert "failed" in found[failed.name] and "trainer settings" in found[failed.name]
    assert out.strip().endswith("3 failed, 1 done, 1 running, 1 interrupted")
    assert duration(300) == "5 min" and duration(4 * 3600 + 300) == "4 h 05 min"


def test_lines_fit_the_terminal(command, tiny, monkeypatch):
    names = ["x" * 20, f"data-{'x' * 100}-seed0", f"data-{'x' * 100}-seed1"]
    for name in names:
        Status(failed="a long reason " * 20).write(Path("outputs", name))
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        out = command("status.py").out.splitlines()
        assert max(map(len, out)) <= width
        # The ends of shortened names tell runs apart.
        assert re.match(r"data-x+…x*-seed0 ", out[0]) and re.match(r"data-x+…x*-seed1 ", out[1])
    monkeypatch.delenv("COLUMNS", raising=False)
    assert names[1] in command("status.py").out, "whole where there is no terminal"


def test_a_damaged_run_does_not_hide_the_others(command, tiny):
    command("train.py", *tiny)
    for name, content in (("a", "{"), ("b", "training: 3"), ("c", "- [")):
        Path("outputs", name).mkdir()
        Path("outputs", name, "config.yaml").write_text(content)
    found = lines(command("status.py").out)
    assert all(found[name].startswith("damaged") for name in "abc")
    assert sum(line.startswith("done") for line in found.values()) == 1
