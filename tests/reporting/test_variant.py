"""Settings of all runs make the paper's tables all the same, and are said above them."""

import pytest

from dpi.errors import UserError
from dpi.evaluation.rows import Row
from dpi.reporting.collect import collect
from dpi.reporting.files import markdown
from dpi.reporting.tables import tables
from dpi.reporting.variant import share

MEAN = {"denoising": [Row("mse", 0.1)], "objective": [Row("objective", 0.1)]}
DPI, TMAP = ("diffusion", "drunet", "dpi"), ("diffusion", "drunet", "tmap")


def shared(tmp_path, variant=None):
    return share(collect(tmp_path / "runs")[0], variant)


def variants(runs):
    return {(run.kind[2], run.variant) for run in runs}


def test_what_all_runs_share_is_no_variant(make_run, tmp_path):
    for kind in (DPI, TMAP):
        make_run(kind, MEAN, variant="batch_size_64-lr_0.01")
    make_run(DPI, MEAN, variant="schedule_linear-batch_size_64-lr_0.01")
    runs = shared(tmp_path)
    assert variants(runs) == {("dpi", ""), ("tmap", ""), ("dpi", "schedule_linear")}
    made = {table.name: markdown(table) for table in tables(runs)}
    assert {"table2", "table5"} <= made.keys() and "ablations" not in made
    assert "ours are of avatars at scale mini with batch_size_64, lr_0.01." in made["table2"]


def test_beside_plain_runs_they_are_variants_unless_they_are_asked_for(make_run, tmp_path):
    make_run(DPI, MEAN)
    make_run(DPI, MEAN, variant="batch_size_64")
    make_run(TMAP, MEAN, variant="batch_size_64-it")
    assert variants(shared(tmp_path)) == {
        ("dpi", ""),
        ("dpi", "batch_size_64"),
        ("tmap", "batch_size_64-it"),
    }
    asked = shared(tmp_path, "batch_size_64")
    assert variants(asked) == {("dpi", ""), ("tmap", "it")}
    with pytest.raises(UserError, match=r"names\.variant=lr_1: choose from '', batch_size_64"):
        shared(tmp_path, "lr_1")


def test_a_linear_lambda_and_a_cost_stay_what_they_are(make_run, tmp_path):
    make_run(DPI, MEAN, variant="schedule_linear-lr_0.01")
    make_run(DPI, {"complexity": [Row("parameters", 7)]}, variant="cost")
    assert variants(shared(tmp_path)) == {("dpi", "schedule_linear"), ("dpi", "cost")}
