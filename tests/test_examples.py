"""The examples run and show what their docstrings say."""

from types import ModuleType

import numpy as np
import torch
from conftest import ROOT, module
from PIL import Image

from dpi.interpolation import interpolate


def example(name: str) -> ModuleType:
    return module(f"examples/{name}.py")


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split() if word.replace(".", "", 1).isdigit()]


def test_your_network_learns_to_use_the_noise_level(capsys):
    used = example("your_network")
    used.STEPS = 60
    used.main()
    lines = capsys.readouterr().out.splitlines()
    errors = np.array([numbers(line) for line in lines[1:]])
    assert errors.shape == (4, 3)
    assert (np.diff(errors[:, 2]) > 0).all(), "the error increases with the noise level"
    assert errors[-1, 2] < 0.5, "better than predicting zero"


def test_minimal_trains_and_samples(capsys, tmp_path):
    used = example("minimal")
    used.NUM_IMAGES, used.STEPS, used.SAMPLING_STEPS = 64, 200, 2
    used.BATCH, used.UNet.__init__.__defaults__ = 8, ((8, 8, 8),)
    used.main(tmp_path / "samples.png")
    first, last = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[-2:])
    assert last < first < 2, "predicting zero has an error of about 1.5"
    assert Image.open(tmp_path / "samples.png").size == (6 * 66, 6 * 66)


def test_minimal_computes_what_the_library_computes():
    used = example("minimal")
    torch.manual_seed(0)
    own = used.DPI(used.UNet((8, 8, 8)))
    library = interpolate(used.UNet((8, 8, 8)), num_scalars=used.NUM_TIMES)
    for parameter in own.parameters():
        parameter.data.normal_(0, 0.3)
    library.theta0.load_state_dict(own.theta0.state_dict())
    library.theta1.load_state_dict(own.theta1.state_dict())
    library.interpolation.phi.data.copy_(own.phi)
    x = torch.randn(2, 3, 16, 16)
    for step in (0, 1, 400, 999):
        expected = library(x, torch.tensor(step))
        torch.testing.assert_close(own(x, step / 999), expected, rtol=1e-4, atol=1e-4)


def test_export_has_the_same_output(capsys):
    example("export").main()
    assert float(capsys.readouterr().out.split()[-1]) < 1e-5


def test_pretrained_denoiser_is_fine_tuned(capsys, tmp_path):
    with np.load(ROOT / "tests/architectures/reference/dpir.npz") as file:
        shapes = [[side for side in shape if side] for shape in file["shapes"].tolist()]
        torch.manual_seed(0)
        weights = {
            name: torch.randn(shape) / torch.tensor(shape[1:]).prod().sqrt()
            for name, shape in zip(file["names"].tolist(), shapes, strict=True)
        }
    torch.save(weights, tmp_path / "weights.pth")
    used = example("pretrained")
    used.STEPS = 30
    used.main(str(tmp_path / "weights.pth"))
    before, equal = numbers(capsys.readouterr().out.split("\n")[0].replace(",", ""))[:2]
    assert before == equal, "two equal sets are equivalent to the pretrained network"
