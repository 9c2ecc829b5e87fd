"""Samples and errors computed on a device are those of the CPU."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerator.small import CASES, small

from dpi.evaluation.neighbours import precision_recall
from dpi.evaluation.objective import objective
from dpi.frameworks.draw import draw, start_noise
from dpi.runs.run import Run

SOLVERS = [("diffusion", None), ("flow", None), ("diffusion", "DPMSolverMultistep")]
SOLVERS += [("diffusion", "HeunDiscrete"), ("flow", "midpoint")]


@pytest.mark.parametrize(("framework", "conditioning"), CASES)
def test_samplers_do_not_wait(accelerator, framework, conditioning):
    """DDIM and Euler: five steps, the same images."""
    framework, network = small(framework, conditioning)
    noise = start_noise(0, range(3), (3, 8, 8))
    expected = framework.sample(network, noise, 5)
    network.to(accelerator.device)
    on_device = noise.to(accelerator.device)
    with accelerator.no_waits():
        found = framework.sample(network, on_device, 5)
    accelerator.check_equal(found, expected)


@pytest.mark.parametrize(("framework", "solver"), SOLVERS)
def test_drawn_samples(accelerator, framework, solver):
    """The paper's samplers wait twice a batch, for the noise and for the images."""
    framework, network = small(framework, "dpi")

    def drawn(device):
        how = ((3, 8, 8), range(5), 0, 4, solver, 3, device)
        return np.concatenate(list(draw(framework, network.to(device), *how)))

    expected = drawn("cpu").astype(int)
    network.to(accelerator.device)
    with accelerator.waits() as waits:
        found = drawn(accelerator.device).astype(int)
    assert np.abs(found - expected).max() <= 1  # of 255, by rounding
    assert solver is not None or len(waits) <= 4, waits


def fabric(device):
    """What an evaluation uses of Lightning's Fabric, for any device."""
    return SimpleNamespace(
        device=device,
        global_rank=0,
        world_size=1,
        is_global_zero=True,
        barrier=lambda: None,
        autocast=nullcontext,
        strategy=SimpleNamespace(precision=SimpleNamespace(precision="32-true")),
    )


@pytest.mark.parametrize(("framework", "conditioning"), [("diffusion", "dpi"), ("flow", "tmap")])
def test_errors_at_every_scalar(accelerator, framework, conditioning, tmp_path, monkeypatch):
    """eval=denoising, eval=objective; a batch waits for the copy of its noise and for its error."""
    metric = "mse" if framework == "diffusion" else "objective"
    framework, network = small(framework, conditioning)
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8)
    monkeypatch.setattr("dpi.evaluation.objective.held_out_images", lambda *_: images)

    def values(device):
        run = Run(tmp_path, None, framework, network.to(device).eval(), 1)
        how = (6, 500, 2, [0, 333, 999], 1, 4, metric)
        rows = objective(run, fabric(device), tmp_path / device.type, *how)
        return [(row.metric, row.scalar, row.value, row.standard_error) for row in rows]

    expected = values(torch.device("cpu"))
    network.to(accelerator.device)
    with accelerator.waits() as waits:
        found = values(accelerator.device)
    for row, other in zip(found, expected, strict=True):
        assert row[:2] == other[:2] and row[2:] == pytest.approx(other[2:], rel=1e-5, abs=1e-6)
    batches = 3 * 2 * 2
    assert len(waits) <= 1 + 2 * batches, waits


def test_precision_and_recall(accelerator):
    real, fake = torch.randn(40, 5), torch.randn(30, 5) + 0.5
    expected = precision_recall(real, fake)
    found = precision_recall(real.to(accelerator.device), fake.to(accelerator.device))
    assert found == pytest.approx(expected)
