"""evaluate.py eval=denoising, eval=objective: the same numbers however they are come by."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dpi.evaluation.pictures import held_out
from dpi.runs import open_run

ROOT = Path(__file__).parents[2]
FEW = ["pictures=6", "noise_seeds=3", "accelerator=cpu", "every=333"]


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
    done = command("evaluate.py", f"run={run}", "eval=objective", *FEW)
    assert done.status == 0, done.err
    found = values(run, "objective", "objective")
    opened = open_run(run)
    x = torch.from_numpy(held_out(opened, 6)).float() / 127.5 - 1
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
    expected[None] = np.mean(list(expected.values()))
    assert found == pytest.approx(expected, rel=1e-5)
    over = next(row for row in rows(run, "objective") if row["scalar"] is None)
    assert over["settings"]["scalars"] == 4 and over["standard_error"] > 0
    assert over["finished"] and over["step"] == 3 and over["weights"] == opened.weights


def test_neither_batch_size_nor_the_other_scalars_have_a_say(run, command):
    run = run()
    words = ["evaluate.py", f"run={run}", "accelerator=cpu", "pictures=6", "noise_seeds=2"]
    assert command(*words, "eval=denoising", "t=[0,999]").status == 0
    before = values(run, "denoising", "mse")
    errors = next(run.glob("evaluation/*/errors*"))
    errors.rename("put-aside")
    assert command(*words, "eval=denoising", "t=[999,5]", "batch_size=4").status == 0
    after = values(run, "denoising", "mse")
    assert after[999] == pytest.approx(before[999], rel=1e-6)
    assert set(after) == {0, 5, 999}, "rows of the first evaluation are kept"


def test_the_noise_scaled_error_is_that_of_the_picture(run, command):
    run = run()
    assert command("evaluate.py", f"run={run}", "eval=denoising", *FEW).status == 0
    mse, scaled = (values(run, "denoising", m) for m in ("mse", "noise_scaled_mse"))
    for t, sigma in {0: 0.01, 333: 1.46, 666: 9.49, 999: 157}.items():
        assert scaled[t] == pytest.approx(sigma**2 * mse[t], rel=0.01)
    assert None in mse and None not in scaled


def test_a_killed_evaluation_goes_on_and_ends_in_the_same_rows(run, command):
    run = run()
    words = ["evaluate.py", f"run={run}", "eval=denoising", *FEW]
    assert command(*words).status == 0
    whole = rows(run, "denoising")
    (log,) = run.glob("evaluation/*/errors*/process0.jsonl")
    lines = log.read_text().splitlines()
    assert len(lines) == 12
    log.write_text("\n".join(lines[:5]) + "\n" + lines[5][:7])  # cut short in the sixth
    (run / "evaluation" / "denoising.json").unlink()
    assert command(*words).status == 0
    assert rows(run, "denoising") == whole
    kept = log.read_text().splitlines()
    assert kept[:5] == lines[:5] and len(kept) == 13, "done ones are not done again"


def test_two_evaluations_share_their_errors(run, command):
    run = run()
    done = command("evaluate.py", f"run={run}", "eval=[denoising,objective]", *FEW)
    assert done.status == 0, done.err
    assert values(run, "denoising", "mse") == values(run, "objective", "objective")
    (log,) = run.glob("evaluation/*/errors*/process0.jsonl")
    assert len(log.read_text().splitlines()) == 12
    assert "denoising of run" in done.out and "objective of run" in done.out


@pytest.mark.slow
def test_two_processes_give_what_one_does(run, command):
    run = run()
    words = [f"run={run}", "eval=objective", *FEW]
    assert command("evaluate.py", *words).status == 0
    alone = rows(run, "objective")
    next(run.glob("evaluation/step*")).rename("put-aside")
    both = [sys.executable, str(ROOT / "evaluate.py"), *words, "devices=2"]
    done = subprocess.run(both, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("objective of run") == 1
    assert len(list(run.glob("evaluation/*/errors*/process*.jsonl"))) == 2
    for one, two in zip(alone, rows(run, "objective"), strict=True):
        assert one["value"] == pytest.approx(two["value"], rel=1e-6)


def test_an_unfinished_run_is_evaluated_if_asked_and_labelled(run, command):
    run = run()
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("steps: 3\n", "steps: 30\n"))
    words = ["evaluate.py", f"run={run}", "eval=objective", *FEW]
    done = command(*words)
    assert done.status == 1 and "unfinished=true" in done.err
    assert not (run / "evaluation").exists()
    done = command(*words, "unfinished=true")
    assert done.status == 0 and "UNFINISHED" in done.out
    assert not rows(run, "objective")[0]["finished"]


def test_mistakes_get_one_line(run, command):
    run = run("flow")
    here = f"run={run}"
    for words, hint in {
        ("eval=objective", here, "pictures=9"): "pictures=8 or fewer",
        ("eval=objective", here, "t=[1000]", "pictures=2"): "0 to 999",
        ("eval=objective", here, "t=[a]", "pictures=2"): "0 to 999",
        ("eval=objective", here, "pictures=0"): "pictures=0",
        ("eval=objective", here, "every=0"): "every=0",
        ("eval=denoising", here, "pictures=2"): "eval=objective",
        ("eval=objective",): "run= is missing",
        ("eval=objective", "run=nowhere"): "is not a run",
        ("eval=objective", here, "precision=odd"): "cannot be used here",
        ("eval=objective", here, "devices=3000", "accelerator=abacus"): "cannot be used here",
        ("eval=objective", here, "samples=a.npz"): "samples",
    }.items():
        done = command("evaluate.py", *words)
        assert done.status == 1 and hint in done.err, (words, done.err)
        assert "Traceback" not in done.err
    (run / "split.json").write_text('{"fingerprint": "of others", "held_out": [1]}')
    done = command("evaluate.py", "eval=objective", here, "pictures=1")
    assert done.status == 1 and "data_path=" in done.err


def test_bad_weights_are_told(run, command):
    run = run()
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["network.theta0.head.weight"][:] = torch.nan
    torch.save(checkpoint, run / "last.ckpt")
    done = command("evaluate.py", f"run={run}", "eval=objective", *FEW)
    assert done.status == 1 and "its weights are bad" in done.err
