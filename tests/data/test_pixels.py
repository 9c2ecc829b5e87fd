"""Conversion between uint8 images and [-1, 1], and the imports of dpi.data."""

import subprocess
import sys

import numpy as np
import torch

from dpi.data import to_uint8, to_unit


def test_conversion_is_exactly_invertible():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 3, 1, 1)
    x = to_unit(images)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert np.array_equal(to_uint8(x), images.permute(0, 2, 3, 1))


def test_values_out_of_range_are_clipped():
    x = torch.tensor([-9.0, 9.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert to_uint8(x).shape == (1, 1, 2, 3)
    assert to_uint8(x)[0, 0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_does_not_import_torch():
    code = "import sys, dpi.data; print({'torch', 'einops'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
