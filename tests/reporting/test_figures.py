import numpy as np
import pytest

from dpi.errors import UserError
from dpi.evaluation.rows import Row
from dpi.figures import save_grid
from dpi.reporting.collect import collect
from dpi.reporting.figures import COLOURS, figures


def made(tmp_path):
    return figures(collect(tmp_path / "runs")[0])


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_figure_4_is_the_mean_over_seeds_at_the_steps_that_all_have(make_run, tmp_path):
    for seed, values in enumerate(([1.0, 2.0, 9.0], [3.0, 6.0])):
        rows = [Row("noise_scaled_mse", v, scalar=t) for t, v in enumerate(values)]
        make_run(("diffusion", "adm", "dpi"), {"denoising": rows}, seed)
    drunet, adm = made(tmp_path)["figure4"].axes
    assert not drunet.lines
    (line,) = adm.lines
    assert line.get_xydata().tolist() == [[0, 2.0], [1, 4.0]]
    assert line.get_color() == COLOURS["dpi"]
    # One standard error to either side: 1 at the first step, 2 at the second.
    low, high = adm.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == (1.0, 6.0)


def test_figure_3_has_a_line_a_seed_beside_the_straight_one(make_run, tmp_path):
    for seed in range(2):
        rows = [Row("lambda", (s / 9) ** 2, scalar=s) for s in range(10)]
        make_run(("flow", "drunet", "dpi"), {"interpolation": rows}, seed)
    panels = {axes.get_title(): axes for axes in made(tmp_path)["figure3"].axes}
    styles = [line.get_linestyle() for line in panels["DRUNet, flow"].lines]
    assert styles == ["--", "-", "--", "-"]
    assert not panels["ADM, flow"].lines


def with_samples(folder):
    save_grid(np.zeros((4, 8, 8, 3), np.uint8), folder / "evaluation" / "samples.png")


def test_samples_are_the_lowest_seeds_and_drunets_where_there_are_none_of_adm(make_run, tmp_path):
    kinds = [("drunet", "dpi"), ("adm", "tmap"), ("drunet", "tmap"), ("drunet", "dpi")]
    for seed, (arch, cond) in enumerate(kinds):
        rows = {"fidelity": [Row("fid", 10.0 + seed)]}
        with_samples(make_run(("diffusion", arch, cond), rows, seed))
    found = made(tmp_path)
    assert list(found) == ["figure2", "figure5"]
    assert titles(found["figure2"]) == ["DRUNet, diffusion (FID 10.00)"]
    assert titles(found["figure5"]) == ["ADM, t map", "DRUNet, DPI"]


def test_damaged_samples_are_named(make_run, tmp_path):
    folder = make_run(("diffusion", "adm", "dpi"), {})
    with_samples(folder)
    (folder / "evaluation" / "samples.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"samples\.png"):
        made(tmp_path)
