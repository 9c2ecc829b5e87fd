"""evaluate.py eval=complexity: what a trained network costs here."""

import json


def test_the_rows_say_what_was_measured_and_where(run, command):
    run = run("diffusion", "drunet", "dpi")
    done = command("evaluate.py", f"run={run}", "eval=complexity", "accelerator=cpu", "repeats=2")
    assert done.status == 0, done.err
    rows = {r["metric"]: r for r in json.loads((run / "evaluation/complexity.json").read_text())}
    # (4, 8) channels, one block: head, two down, two in the body, two up, tail; twice, and phi
    one = 4 * 27 + 2 * 4 * 36 + 4 * 8 * 4 + 2 * 8 * 72 + 8 * 4 * 4 + 2 * 4 * 36 + 3 * 36
    assert rows["parameters"]["value"] == 2 * one + 1000
    assert rows["gflops_true"]["value"] < rows["gflops_paper"]["value"]
    step = rows["training_step_s"]
    assert step["value"] > 0 and "CPU" in step["settings"]["device"]
    assert step["settings"]["pictures_a_step"] == 8
    # weights, gradients and AdamW's moments are 16 bytes a parameter
    assert rows["training_peak_mb"]["value"] * 2**20 > 16 * (2 * one)
    assert rows["sampling_peak_mb"]["value"] < rows["training_peak_mb"]["value"]
