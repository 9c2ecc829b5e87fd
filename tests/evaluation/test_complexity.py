"""evaluate.py eval=complexity: what a trained network costs here."""

import json
from pathlib import Path

REPEATS = ["eval.complexity.repeats=2"]


def test_the_rows_say_what_was_measured_and_where(run, command):
    run = run("diffusion", "drunet", "dpi")
    command("evaluate.py", f"run={run}", "eval=complexity", "accelerator=cpu", *REPEATS)
    rows = {r["metric"]: r for r in json.loads((run / "evaluation/complexity.json").read_text())}
    # (4, 8) channels, one block: head, two down, two in the body, two up, tail; twice, and phi
    one = 4 * 27 + 2 * 4 * 36 + 4 * 8 * 4 + 2 * 8 * 72 + 8 * 4 * 4 + 2 * 4 * 36 + 3 * 36
    assert rows["parameters"]["value"] == 2 * one + 1000
    assert rows["gflops_true"]["value"] < rows["gflops_paper"]["value"]
    step = rows["training_step_s"]
    assert step["value"] > 0 and "CPU" in step["settings"]["device"]
    assert step["settings"]["micro_batch"] == 8 and step["settings"]["distinct_scalars"] == 4
    # weights, gradients, AdamW's moments and the average are 20 bytes a parameter
    assert rows["training_peak_mib"]["value"] * 2**20 > 20 * (2 * one)
    assert rows["sampling_peak_mib"]["value"] < rows["training_peak_mib"]["value"]
    # Some layers multiply by both sets, and none by more.
    forward = rows["sampling_gflops"]["value"]
    assert 3 * forward < rows["training_gflops"]["value"] < 6 * forward


def test_film_is_counted_as_well(run, command):
    run = run("diffusion", "drunet", "film")
    command("evaluate.py", f"run={run}", "eval=complexity", "accelerator=cpu", *REPEATS)
    rows = {r["metric"]: r for r in json.loads((run / "evaluation/complexity.json").read_text())}
    # transposed convolutions are counted at every output position
    assert rows["gflops_paper"]["value"] > rows["gflops_true"]["value"] > 0


def test_it_measures_the_micro_batch_that_is_trained_on(command, tiny):
    accumulate = "trainer.accumulate_grad_batches=4"
    command("train.py", *tiny, accumulate, "run=it", "eval=[complexity]", *REPEATS)
    rows = {r["metric"]: r for r in json.loads(Path("it/evaluation/complexity.json").read_text())}
    settings = rows["training_step_s"]["settings"]
    # 8 images with 4 scalars a step: a quarter of them has 2 images with one scalar.
    assert (settings["micro_batch"], settings["distinct_scalars"]) == (2, 1)
    # A weight multiplies each of 8x8 pixels, or of 4x4 between the levels and below; the backward
    # pass does twice as much, but for the gradient of the image.
    head = 64 * 4 * 27
    forward = head + 64 * (4 * 4 * 36 + 3 * 36) + 16 * (2 * 4 * 8 * 4 + 2 * 72 * 8)
    assert rows["sampling_gflops"]["value"] == 2 * forward / 1e9
    assert rows["training_gflops"]["value"] == 2 * (3 * forward - head) / 1e9
