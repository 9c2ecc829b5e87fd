"""The notebook runs from beginning to end, with few steps."""

import json
import os

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from conftest import ROOT

NOTEBOOK = ROOT / "examples/quickstart.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    run = tmp_path / "run"
    for there, here in {
        "TOY_STEPS = 2000": "TOY_STEPS = 200",
        'FACES, FACE_STEPS, RUN = 2048, 600, "outputs/quickstart"': (
            f'FACES, FACE_STEPS, RUN = 600, 60, "{run}"'
        ),
        "num_steps=50": "num_steps=2",
        "noise, 50": "noise, 2",
    }.items():
        assert code.count(there) == 1
        code = code.replace(there, here)
    matplotlib.use("agg")
    monkeypatch.setenv("DPI_CACHE", str(tmp_path))
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.chdir(NOTEBOOK.parent)
    made = {}
    exec(code, made)
    assert os.path.samefile(os.getcwd(), ROOT), "paths are those of the clone"
    assert made["loss_g"] < made["loss_f"], "a network that sees the time has a lower loss"
    assert made["run"].step == 60 and (run / "last.ckpt").exists()
    assert torch.equal(made["noise"], made["start_noise"](0, range(8), (3, 16, 16)))


def test_the_notebook_is_committed_as_it_ran_last():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if "outputs" in cell]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert not any(output["output_type"] == "error" for output in outputs)
