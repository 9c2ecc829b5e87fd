"""Any combination of the options trains and evaluates, or is refused with its reason."""

import os
import random
from pathlib import Path

import pytest
from conftest import ROOT, image_folder

from dpi.groups import COMBINED


def files(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))


CHOICES = {
    "framework": ["diffusion", "flow"],
    "arch": files("arch"),
    "cond": [*files("cond"), *COMBINED],
    "data": ["avatars data.count=40", "folder data.path=images data.convert=true"],
    "logger": ["csv", "tensorboard"],
    "trainer": ["cpu", "auto"],
    "trainer.precision": ["32-true", "bf16-mixed"],
    "trainer.accumulate_grad_batches": [1, 2],
    "trainer.channels_last": ["false", "true"],
    "trainer.gradient_clip_val": ["null", 0.1],
    "framework.precondition": ["false", "true"],
    "training.distinct_scalars": ["null", 1, 4, 8],
    "training.stratified": ["false", "true"],
    "training.lr_schedule": ["constant", "cosine", "rsqrt training.lr_decay_steps=1"],
    "training.loss_weighting": ["null", "uncertainty", "min_snr"],
    "training.ema_decay": [0.9, "null training.ema_halflife=100"],
    "training.show.keep_best": ["false", "true"],
    "training.show.keep_ema": ["[]", "[0.5]"],
    "data.random_flip": ["false", "true"],
    "image_channels": [3, 1],
    "effort": ["mini", "small"],
}
SMALL = {
    "denoising": ["pictures=4", "t=[0,500]", "noise_seeds=2"],
    "objective": ["pictures=4", "scalars=5", "noise_seeds=2"],
    "fidelity": ["extractor=pixels", "n=4", "steps=2"],
    "samples": ["grid=2", "steps=2"],
    "complexity": ["repeats=1"],
}


@pytest.mark.parametrize("seed", range(int(os.environ.get("COMPOSITIONS", "6"))))
def test_any_combination_trains_and_evaluates_or_is_refused(command, own, seed):
    draw = random.Random(seed)
    words = [word for word in own if not word.startswith("trainer=")]
    for key, options in CHOICES.items():
        words += f"{key}={draw.choice(options)}".split()
    evals = draw.sample(files("eval"), draw.randint(0, 2))
    words += [f"eval.{name}.{setting}" for name in evals for setting in SMALL.get(name, [])]
    words += [f"eval=[{','.join(evals)}]", "run=run", "training.steps=2"]
    image_folder("images", 20)
    done = command("train.py", *words, status=None)
    if done.status:
        (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
        excluded = ("cond=" in line or "loss_weighting=min_snr" in line) and "; use " in line
        assert excluded or ("denoising" in evals and "eval=denoising: it is only" in line), done
        assert "Traceback" not in done.err and not Path("run").exists()
        return
    assert Path("run/last.ckpt").exists() and Path("run/samples/step_0000002.png").exists()
    for name in evals:
        assert Path(f"run/evaluation/{name}.json").exists(), done
    again = command("train.py", *words)
    assert "is finished" in again.out, again
