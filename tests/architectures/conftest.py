import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).parent / "reference"


class Original:
    """A forward pass of a public implementation: its state dict, input and output."""

    def __init__(self, name):
        with np.load(REFERENCE / f"{name}.npz") as run:
            shapes = zip(run["names"].tolist(), run["shapes"].tolist(), strict=True)
            self.x, self.y = torch.from_numpy(run["x"]), torch.from_numpy(run["y"])
            self.t = torch.from_numpy(run["t"]) if "t" in run else None
        self.state_dict = {
            key: torch.from_numpy(reference_parameter(key, [side for side in shape if side]))
            for key, shape in shapes
        }


def reference_parameter(key, shape):
    """A parameter of a reference network; the stream of NumPy's RandomState never changes."""
    u = np.random.RandomState(zlib.crc32(key.encode())).uniform(-1, 1, shape)
    matrix = len(shape) > 1
    # Unit variance is preserved; norms scale by about 1, biases are small.
    u = u * (3 / np.prod(shape[1:])) ** 0.5 if matrix else 0.2 * u + key.endswith("weight")
    return u.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="session")
def original():
    return Original


@pytest.fixture
def randomize():
    """Set every parameter to a nonzero value, also in zero-initialized branches."""

    def randomize(network):
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                parameter.copy_(torch.from_numpy(reference_parameter(key, list(parameter.shape))))
        return network

    return randomize
