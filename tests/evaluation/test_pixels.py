"""evaluate.py eval=pixels: sample quality in features that need no download."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation.test_neighbours import brute_force
from torch import nn

from dpi.evaluation.frechet import frechet_distance, statistics
from dpi.evaluation.images import images_of
from dpi.evaluation.neighbours import density_coverage
from dpi.evaluation.simple_features import Pixels, RandomNetwork
from dpi.runs.run import open_run


def pictures(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Smooth random colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (count, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    return coarse.astype(np.uint8)


def scores(network, fake: np.ndarray, real: np.ndarray) -> tuple[float, float, float]:
    """Frechet distance, density and coverage."""
    fake, real = network(fake).pool, network(real).pool
    distance = frechet_distance(*statistics(fake), *statistics(real))
    return distance, *density_coverage(real, fake)


def test_a_runs_samples_are_compared_with_its_training_images(run, command):
    run = run()
    overrides = ["n=12", "steps=4", "cache=cache", "batch_size=5"]
    overrides = [f"run={run}", "eval=pixels", *(f"eval.pixels.{text}" for text in overrides)]
    done = command("evaluate.py", *overrides, "accelerator=cpu")
    assert done.status == 0, done.err
    rows = json.loads((run / "evaluation/pixels.json").read_text())
    samples = np.concatenate([np.load(p)["arr_0"] for p in run.glob("evaluation/*/samples*/*.npz")])
    images = images_of(open_run(run))
    real = images.all[images.train].transpose(0, 2, 3, 1)
    assert (samples.shape, real.shape) == ((12, 8, 8, 3), (32, 8, 8, 3))
    expected = {}
    for network in (Pixels(8), RandomNetwork()):
        theirs, ours = network(np.ascontiguousarray(real)).pool, network(samples).pool
        assert theirs.shape == (32, network.size)
        distance = frechet_distance(*statistics(ours), *statistics(theirs))
        _, _, density, coverage = brute_force(theirs, ours, 5)
        values = {"fd": distance, "density": density, "coverage": coverage}
        expected |= {f"{metric}_{network.name}": value for metric, value in values.items()}
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(expected, rel=1e-4)
    assert {row["settings"]["n"] for row in rows} == {12}
    assert "warning: 12 samples are fewer than the 193" in done.err
    for path in Path("cache").rglob("*.npz"):  # features, and the statistics of the real images
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (run / "evaluation/pixels.json").unlink()
    assert command("evaluate.py", *overrides, "accelerator=cpu").status == 0
    assert json.loads((run / "evaluation/pixels.json").read_text()) == rows


@pytest.mark.parametrize("network", [Pixels(16), RandomNetwork()], ids=lambda of: of.name)
def test_equal_sets_are_perfect_and_others_are_worse(network):
    real, other = pictures(600), pictures(600, seed=1)
    same = scores(network, real, real)
    assert same == (pytest.approx(0, abs=1e-3), pytest.approx(1.2, abs=1e-3), 1)
    alike = scores(network, other, real)
    brighter = scores(network, other + 55, real)
    few_of_them = scores(network, np.concatenate([real[:20]] * 30), real)
    assert same[0] < alike[0] < brighter[0] and alike[0] < few_of_them[0]
    assert same[2] > alike[2] > brighter[2] and alike[2] > few_of_them[2]
    assert alike[1] == pytest.approx(1, abs=0.15) and brighter[1] < 0.9


def test_pixels_of_larger_images_are_averages():
    large = pictures(2, size=64)
    blocks = large.reshape(2, 16, 4, 16, 4, 3).mean(axis=(2, 4)) / 127.5 - 1
    found = Pixels(64)(large).pool
    assert found == pytest.approx(blocks.transpose(0, 3, 1, 2).reshape(2, -1), abs=1e-6)
    assert Pixels(64).size == 768 and Pixels(8).size == 192


def test_the_random_network_is_always_the_same():
    """Its weights depend on no generator of PyTorch; on an image of one colour by hand."""
    torch.manual_seed(5)
    network = RandomNetwork()
    assert network.weights == "f09db2f0"
    first = network._kernels[0]
    assert first[0, 0, 0, :2].tolist() == pytest.approx([0.4801, 0.1089], abs=1e-4)
    x = torch.full((1, 3, 9, 9), 1.0)
    expected = nn.functional.conv2d(x, first, stride=2, padding=1).relu()
    found = network(np.full((1, 9, 9, 3), 255, np.uint8)).pool[0]
    assert found[:32] == pytest.approx(expected[0].mean(dim=(1, 2)).numpy(), abs=1e-5)
    assert found[32:64] == pytest.approx(expected[0].amax(dim=(1, 2)).numpy(), abs=1e-5)
