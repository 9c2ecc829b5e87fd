"""evaluate.py eval=denoising, eval=objective: the same numbers however they are computed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT

from dpi.evaluation.run_images import held_out_images
from dpi.frameworks.quadrature import weights
from dpi.runs.run import open_run


def few(name: str, *more: str) -> list[str]:
    """A quick evaluation."""
    settings = ["pictures=6", "noise_seeds=3", "scalars=4", *more]
    return [f"eval={name}", "accelerator=cpu", *(f"eval.{name}.{text}" for text in settings)]


def rows(run: Path, name: str) -> list[dict]:
    return json.loads((run / "evaluation" / f"{name}.json").read_text())


def values(run: Path, name: str, metric: str) -> dict[int | None, float]:
    return {row["scalar"]: row["value"] for row in rows(run, name) if row["metric"] == metric}


@pytest.mark.parametrize(
    ("framework", "arch", "cond"),
    [("diffusion", "drunet", "dpi"), ("diffusion", "adm", "mlp"), ("flow", "drunet", "tmap")],
)
def test_it_is_the_mean_squared_error_at_every_scalar(run, command, framework, arch, cond):
    run = run(framework, arch, cond)
    command("evaluate.py", f"run={run}", *few("objective"))
    found = values(run, "objective", "objective")
    opened = open_run(run)
    x = torch.from_numpy(held_out_images(opened, 6, 500)).float() / 127.5 - 1
    expected = {}
    for s in (0, 333, 666, 999):
        errors = []
        for seed in range(3):
            noise = np.random.default_rng((s, seed)).standard_normal(x.shape, np.float32)
            t = torch.full((6,), s)
            corrupted, target = opened.framework.corrupt(x, torch.from_numpy(noise), t)
            with torch.no_grad():
                errors.append((opened.network(corrupted, t) - target).square().mean().item())
        expected[s] = np.mean(errors)
    expected[None] = weights([0, 333, 666, 999], 1000) @ list(expected.values())
    assert found == pytest.approx(expected, rel=1e-5)
    over = next(row for row in rows(run, "objective") if row["scalar"] is None)
    assert over["settings"]["scalars"] == 4 and over["settings"]["mean"] == "interpolated"
    assert over["standard_error"] > 0
    assert over["finished"] and over["step"] == 3 and over["weights"] == opened.weights
    assert over["run"] == "run"


def test_it_prints_what_means_and_standard_errors_are_of(run, command):
    run = run()
    few_draws = command("evaluate.py", f"run={run}", *few("objective", "pictures=null")).out
    assert "from 4 of 1,000 steps" in few_draws and "±" not in few_draws
    assert "errors are of 8 held-out images" in few_draws, "all of them"
    assert {row["settings"]["pictures"] for row in rows(run, "objective")} == {8}
    at_most = few("objective", "pictures=null", "at_most=5")
    assert "of 5 held-out images" in command("evaluate.py", f"run={run}", *at_most).out
    five = command("evaluate.py", f"run={run}", *few("objective", "noise_seeds=5")).out
    over = next(row for row in reversed(rows(run, "objective")) if row["scalar"] is None)
    assert f"{over['value']:.4g} ± {over['standard_error']:.1g}\n" in five
    assert "±: standard error over draws of noise" in five
    ends = command("evaluate.py", f"run={run}", *few("objective", "t=[0,999]")).out
    assert "mean over the schedule" not in ends


def test_28_scalars_give_the_mean_over_the_schedule(run, command):
    run = run()
    for scalars in (28, "null"):
        settings = few("objective", "pictures=8", "noise_seeds=1", f"scalars={scalars}")
        command("evaluate.py", f"run={run}", *settings)
    few_of_them, all_of_them = (r for r in rows(run, "objective") if r["scalar"] is None)
    assert few_of_them["value"] == pytest.approx(all_of_them["value"], rel=0.01)
    assert [r["settings"]["scalars"] for r in (few_of_them, all_of_them)] == [28, 1000]
    assert "mean" not in all_of_them["settings"], "nothing is interpolated"


def test_batch_size_and_the_other_scalars_do_not_matter(run, command):
    run = run()
    overrides = ["evaluate.py", f"run={run}"]
    command(*overrides, *few("denoising", "noise_seeds=2", "t=[0,999]"))
    before = values(run, "denoising", "mse")
    errors = next(Path("data/cache").glob("*/*/errors*"))
    errors.rename("put-aside")
    more = ["noise_seeds=2", "t=[999,5]", "batch_size=4"]
    command(*overrides, *few("denoising", *more))
    after = values(run, "denoising", "mse")
    assert after[999] == pytest.approx(before[999], rel=1e-6)
    assert set(after) == {0, 5, 999}, "rows of the first evaluation are kept"


def test_a_killed_evaluation_resumes_and_ends_in_the_same_rows(run, command):
    run = run()
    overrides = ["evaluate.py", f"run={run}", *few("denoising")]
    command(*overrides)
    whole = rows(run, "denoising")
    (log,) = Path("data/cache").glob("*/*/errors*/process0.jsonl")
    lines = log.read_text().splitlines()
    assert len(lines) == 12
    kept = [lines[0], "{", "[1, 2]", *lines[3:5]]  # of the second and third nothing is left
    log.write_text("\n".join(kept) + "\n" + lines[5][:7])  # truncated in the sixth
    (run / "evaluation" / "denoising.json").unlink()
    command(*overrides)
    assert rows(run, "denoising") == whole
    again = log.read_text().splitlines()
    assert again[:5] == kept and len(again) == 15, "what is known is not computed again"


def test_two_evaluations_share_their_errors(run, command):
    run = run()
    both = [*few("objective")[1:], *few("denoising")[1:], "eval=[denoising,objective]"]
    done = command("evaluate.py", f"run={run}", *both)
    mse, scaled = (values(run, "denoising", m) for m in ("mse", "noise_scaled_mse"))
    assert mse == values(run, "objective", "objective")
    for t, sigma in {0: 0.01, 333: 1.46, 666: 9.49, 999: 157}.items():  # that of the picture
        assert scaled[t] == pytest.approx(sigma**2 * mse[t], rel=0.01)
    assert None in mse and None not in scaled
    (log,) = Path("data/cache").glob("*/*/errors*/process0.jsonl")
    assert len(log.read_text().splitlines()) == 12
    assert "denoising of run" in done.out and "objective of run" in done.out


@pytest.mark.slow
def test_two_processes_give_what_one_does(run, command):
    run = run()
    overrides = [f"run={run}", *few("objective")]
    command("evaluate.py", *overrides)
    alone = rows(run, "objective")
    Path("data").rename("put-aside")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    both = [*torchrun, str(ROOT / "evaluate.py"), *overrides, "devices=2"]
    done = subprocess.run(both, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("objective of run") == 1
    assert len(list(Path("data/cache").glob("*/*/errors*/process*.jsonl"))) == 2
    for one, two in zip(alone, rows(run, "objective"), strict=True):
        assert one["value"] == pytest.approx(two["value"], rel=1e-6)


def test_an_unfinished_run_is_evaluated_if_asked_and_labelled(run, command):
    run = run()
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("steps: 3\n", "steps: 30\n"))
    overrides = ["evaluate.py", f"run={run}", *few("objective")]
    command(*overrides, error="unfinished=true")
    assert not (run / "evaluation").exists()
    done = command(*overrides, "unfinished=true")
    assert "step 3 of 30" in done.out
    assert not rows(run, "objective")[0]["finished"]


def test_out_of_memory_is_one_line(run, command, monkeypatch):
    def fail(*_) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB.")

    monkeypatch.setattr("dpi.evaluation.objective.loss", fail)
    words = [f"run={run()}", "eval=objective", "eval.objective.pictures=4", "accelerator=cpu"]
    command("evaluate.py", *words, error="error: out of memory: give a smaller batch_size=")


def test_images_that_are_gone_or_others_are_asked_for(run, command):
    here = f"run={run()}"
    split = {"fingerprint": "of others", "images": 2, "held_out": [1], "left_out": []}
    Path("run/split.json").write_text(json.dumps(split))
    done = command("evaluate.py", here, *few("objective", "pictures=1"), status=1)
    assert "have changed: give data_path=" in done.err
    config = Path("run/config.yaml")
    cfg = yaml.safe_load(config.read_text())
    cfg["data"]["source"] = {"_target_": "dpi.data.Folder", "path": "gone", "image_size": 8}
    config.write_text(yaml.safe_dump(cfg))
    done = command("evaluate.py", here, *few("objective", "pictures=1"), status=1)
    assert "gone does not exist; give data_path=" in done.one_line()


def test_after_training_and_by_itself_an_evaluation_gives_the_same_rows(command, tiny):
    settings = few("objective")[2:]
    command("train.py", *tiny, "run=it", "eval=[objective]", *settings)
    after = rows(Path("it"), "objective")
    shutil.rmtree("it/evaluation")
    command("evaluate.py", "run=it", *few("objective"))
    assert rows(Path("it"), "objective") == after
