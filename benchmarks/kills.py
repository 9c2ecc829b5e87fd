"""A sweep that is killed again and again, against the same sweep left alone: the same rows?

    python benchmarks/kills.py [kills]

Cartoon faces, two seeds of a t map and of DPI, in both frameworks, at a size that takes seconds.
Each kill is a `kill -9` of the sweep at a random moment, anywhere between importing and writing
the last row.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from dpi.runs.lock import is_locked
from dpi.runs.status import read_status

ROOT = Path(__file__).parents[1]
COMMAND = [
    sys.executable,
    str(ROOT / "train.py"),
    "-m",
    "data=avatars",
    "data.count=256",
    "data.held_out=64",
    "trainer=cpu",
    "scale=mini",
    "framework=diffusion,flow",
    "cond=tmap,dpi",
    "seed=0,1",
    "eval=[objective,interpolation,samples]",
    "training.steps=60",
    "training.show.every=20",
    "training.show.save_every=3",
    "training.show.num_steps=5",
    "effort.scalars=10",
    "eval.objective.pictures=64",
    "eval.samples.steps=20",
]


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        alone, killed = Path(place, "alone"), Path(place, "killed")
        start = time.monotonic()
        process = launch(alone)
        while process.poll() is None and not list(alone.glob("outputs/*/status.json")):
            time.sleep(0.1)
        begin = time.monotonic() - start
        process.wait()
        whole = time.monotonic() - start
        moments: Counter[str] = Counter()
        for _ in range(kills):
            process = launch(killed)
            time.sleep(chance.uniform(0, begin + (whole - begin) / 8))
            moments[moment(killed)] += 1
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        launch(killed).wait()
        same = rows(killed) == rows(alone)
        print(f"{len(rows(alone))} files of rows; left alone: {whole:.0f} s, {begin:.0f} to begin")
        print(f"{kills} kills:", ", ".join(f"{n} while {what}" for what, n in moments.items()))
        print(f"the same rows to the last bit: {same}")
        sys.exit(not same)


def launch(folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DPI_CACHE": str(folder.parent / "cache")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(COMMAND, cwd=folder, env=environment, **quiet)


def moment(folder: Path) -> str:
    """The stage of the sweep, or that of the previous kill if it has only just started again."""
    for run in folder.glob("outputs/avatars-*"):
        if is_locked(run):
            return read_status(run).stage or "beginning a run"
    return "between runs"


def rows(folder: Path) -> dict[str, list]:
    paths = sorted(folder.glob("outputs/*/evaluation/*.json"))
    return {f"{path.parts[-3]}/{path.name}": json.loads(path.read_text()) for path in paths}


if __name__ == "__main__":
    main()
