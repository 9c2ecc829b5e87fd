"""The examples run and show what their docstrings say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

ROOT = Path(__file__).parents[1]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split() if word.replace(".", "", 1).isdigit()]


def test_your_network_learns_to_use_the_noise_level(capsys):
    module = example("your_network")
    module.STEPS = 60
    module.main()
    lines = capsys.readouterr().out.splitlines()
    errors = np.array([numbers(line) for line in lines[1:]])
    assert errors.shape == (4, 3)
    assert (np.diff(errors[:, 2]) > 0).all(), "the error increases with the noise level"
    assert errors[-1, 2] < 0.5, "better than predicting zero"


def test_export_has_the_same_output(capsys):
    example("export").main()
    differences = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(differences) == 2 and max(differences) < 1e-5


def test_pretrained_denoiser_is_fine_tuned(capsys, tmp_path):
    with np.load(ROOT / "tests/architectures/reference/dpir.npz") as file:
        shapes = [[side for side in shape if side] for shape in file["shapes"].tolist()]
        torch.manual_seed(0)
        weights = {
            name: torch.randn(shape) / torch.tensor(shape[1:]).prod().sqrt()
            for name, shape in zip(file["names"].tolist(), shapes, strict=True)
        }
    torch.save(weights, tmp_path / "weights.pth")
    module = example("pretrained")
    module.STEPS = 30
    module.main(str(tmp_path / "weights.pth"))
    before, equal = numbers(capsys.readouterr().out.split("\n")[0].replace(",", ""))[:2]
    assert before == equal, "two equal sets are equivalent to the pretrained network"
