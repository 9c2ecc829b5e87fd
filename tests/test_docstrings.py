"""The public names of the library, and what a model is made of, have examples that run."""

import doctest
import sys

import pytest
import torch
from conftest import ROOT

import dpi.interpolation
from dpi.architectures import ADM, DRUNet
from dpi.data import Avatars
from dpi.frameworks import FlowMatching, VPDiffusion
from dpi.hub import SharedModel

LIBRARY = {name: getattr(dpi.interpolation, name) for name in dpi.interpolation.__all__}
del LIBRARY["Mode"]  # a type without a docstring
PUBLIC = [*LIBRARY.values(), DRUNet, ADM, VPDiffusion, FlowMatching, Avatars, SharedModel]


@pytest.mark.parametrize("public", PUBLIC)
def test_the_example_in_a_docstring_runs(public, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {**vars(sys.modules[public.__module__]), "torch": torch}
    (found,) = doctest.DocTestFinder(recurse=False).find(public, globs=names)
    assert found.examples
    torch.manual_seed(0)
    assert not doctest.DocTestRunner().run(found).failed
