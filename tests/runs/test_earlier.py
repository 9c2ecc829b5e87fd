"""Runs of commit 5255f5f, the last with another library inside, load or are refused."""

import shutil

import pytest
import torch
from conftest import ROOT
from omegaconf import OmegaConf

from dpi.runs.run import open_run

EARLIER = ROOT / "tests/data/5255f5f"
"""A run, its checkpoint without what only training needs, and what it gave for images."""


def changed(tmp_path, cond):
    """The run with other keys of its conditioning."""
    folder = shutil.copytree(EARLIER, tmp_path / "run")
    cfg = OmegaConf.load(folder / "config.yaml")
    cfg.cond.update(cond)
    OmegaConf.save(cfg, folder / "config.yaml")
    return folder


@torch.no_grad()
@pytest.mark.parametrize("mode", ["auto", "grouped"])
def test_a_run_gives_what_it_gave(tmp_path, mode):
    run = open_run(changed(tmp_path, {"mode": mode}))
    expected = torch.load(EARLIER / "outputs.pt", weights_only=True)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name, s in {"one": 250, "several": [700, 3, 700, 999]}.items():
        torch.testing.assert_close(run.network(x, torch.tensor(s)), expected[name])


LOW_RANK = {"_target_": "dpi.conditioning.LowRank"}


@pytest.mark.parametrize(
    ("cond", "trust", "said"),
    [
        (LOW_RANK, "false", "cond: dpi.conditioning.LowRank, which may run other code"),
        (LOW_RANK, "true", "module 'dpi.conditioning' has no attribute 'LowRank'"),
        ({"mode": "one_pass"}, "false", "mode must be 'auto' or 'grouped', got 'one_pass'"),
    ],
)
def test_what_left_is_one_line(command, tmp_path, cond, trust, said):
    changed(tmp_path, cond)
    for script, *options in (("sample.py", "n=1"), ("evaluate.py", "eval=objective")):
        done = command(script, "run=run", f"trust={trust}", *options, status=1)
        assert said in done.one_line()
