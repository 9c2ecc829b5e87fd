"""A sweep that is killed again and again, against the same sweep left alone: the same rows?

    python benchmarks/kills.py

Cartoon faces, two seeds of a t map and of DPI, in both frameworks, at a size that takes seconds.
Each of twenty kills is a `kill -9` of the sweep at a random moment, anywhere between importing and
writing the last row.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
KILLS = 20
COMMAND = [
    *(sys.executable, str(ROOT / "train.py"), "-m"),
    *("data=avatars", "data.count=256", "data.held_out=64", "trainer=cpu", "scale=mini"),
    *("framework=diffusion,flow", "cond=tmap,dpi", "seed=0,1"),
    *("eval=[objective,interpolation,samples]", "effort.scalars=10"),
    *("eval.objective.pictures=64", "eval.samples.steps=20"),
    *("training.steps=60", "training.show.every=20", "training.show.save_every=3"),
    "training.show.num_steps=5",
]


def main() -> None:
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
        for _ in range(KILLS):
            process = launch(killed)
            time.sleep(chance.uniform(0, begin + (whole - begin) / 8))
            process.kill()
            process.wait()
        launch(killed).wait()
        same = rows(killed) == rows(alone)
        print(f"{len(rows(alone))} files of rows; left alone: {whole:.0f} s, {begin:.0f} to begin")
        print(f"{KILLS} kills; the same rows to the last bit: {same}")
        sys.exit(not same)


def launch(folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DPI_CACHE": str(folder.parent / "cache")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(COMMAND, cwd=folder, env=environment, **quiet)


def rows(folder: Path) -> dict[str, list]:
    paths = sorted(folder.glob("outputs/*/evaluation/*.json"))
    return {f"{path.parts[-3]}/{path.name}": json.loads(path.read_text()) for path in paths}


if __name__ == "__main__":
    main()
