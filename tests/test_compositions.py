"""Any combination of the options trains and evaluates, or is refused with its reason."""

import os
from pathlib import Path

from conftest import ROOT
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_train import image_folder

from dpi.groups import COMBINED

GROUPS = {
    group: sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
    for group in ("framework", "arch", "cond", "trainer", "eval")
}
GROUPS["cond"] = sorted([*GROUPS["cond"], *COMBINED])
DATA = ["data=avatars data.count=40", "data=folder data.path=images data.convert=true"]
OPTIONS = {
    "logger": ["csv", "tensorboard"],
    "trainer": ["cpu", "auto"],
    "trainer.precision": ["32-true", "bf16-mixed"],
    "trainer.accumulate_grad_batches": [1, 2],
    "trainer.channels_last": ["false", "true"],
    "framework.precondition": ["false", "true"],
    "training.distinct_scalars": ["null", 1, 4, 8],
    "training.stratified": ["false", "true"],
    "data.random_flip": ["false", "true"],
    "image_channels": [3, 1],
    "effort": ["mini", "small"],
}
EVAL = [
    *("eval.denoising.pictures=4", "eval.denoising.t=[0,500]", "eval.denoising.noise_seeds=2"),
    *("eval.objective.pictures=4", "eval.objective.scalars=5", "eval.objective.noise_seeds=2"),
    *("eval.fidelity.extractor=pixels", "eval.fidelity.n=4", "eval.fidelity.steps=2"),
    *("eval.samples.grid=2", "eval.samples.steps=2"),
    "eval.complexity.repeats=1",
]


@st.composite
def overrides(draw) -> list[str]:
    chosen = [f"{group}={draw(st.sampled_from(GROUPS[group]))}" for group in list(GROUPS)[:3]]
    chosen += draw(st.sampled_from(DATA)).split()
    chosen += [f"{key}={draw(st.sampled_from(values))}" for key, values in OPTIONS.items()]
    evals = draw(st.lists(st.sampled_from(GROUPS["eval"]), max_size=2, unique=True))
    chosen.append(f"eval=[{','.join(evals)}]")
    return [*chosen, *(word for word in EVAL if word.split(".")[1] in evals)]


@settings(
    max_examples=int(os.environ.get("COMPOSITIONS", "16")),
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(overrides())
def test_any_combination_trains_and_evaluates_or_is_refused(command, tiny, chosen):
    if not Path("images").exists():
        image_folder(Path("images"), 20)
    own = [word for word in tiny if not word.startswith(("data=", "data.count", "trainer="))]
    run = Path("runs", str(len(list(Path().glob("runs/*")))))
    done = command("train.py", *own, *chosen, f"run={run}", "training.steps=2")
    evals = next(word for word in chosen if word.startswith("eval=["))
    if done.status:
        (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
        excluded = "cond=" in line and "; use " in line
        assert excluded or ("denoising" in evals and "eval=denoising: it is only" in line), done
        assert "Traceback" not in done.err and not run.exists()
        return
    assert (run / "last.ckpt").exists() and (run / "samples/step_0000002.png").exists()
    for name in filter(None, evals.removeprefix("eval=[").removesuffix("]").split(",")):
        assert (run / "evaluation" / f"{name}.json").exists(), done
    again = command("train.py", *own, *chosen, f"run={run}", "training.steps=2")
    assert again.status == 0 and "is finished" in again.out, again
