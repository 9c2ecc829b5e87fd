"""scripts/zip_dataset.py: a data set of another library becomes a zip that can be trained on."""

import runpy

import numpy as np
import pytest
from conftest import ROOT

from dpi.data import Folder


def test_of_torchvision(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(datasets, "Fake", lambda **_: datasets.FakeData(3, (3, 9, 9)), False)
    script = runpy.run_path(str(ROOT / "scripts/zip_dataset.py"))
    script["write"](script["images"]("Fake"), tmp_path / "fake.zip")
    source, (last, _) = Folder(tmp_path / "fake.zip", 9), datasets.FakeData(3, (3, 9, 9))[2]
    assert len(source) == 3
    assert np.array_equal(source[2], np.asarray(last).transpose(2, 0, 1))
