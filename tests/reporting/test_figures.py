import re

import pytest
from reporting.made_up import results_of, row, write_log

from dpi.reporting import figures as module
from dpi.reporting.figures import figures
from dpi.reporting.frame import read_losses


def drawn(folder):
    runs, results = results_of(folder)
    return figures(runs, results, read_losses(runs, {}))


@pytest.fixture
def panels(monkeypatch):
    """The axes of the figures with curves, by title, once they are drawn."""
    found = {}

    def keep(figure):
        found.update({axes.get_title(): axes for axes in figure.axes})
        return "<svg>"

    monkeypatch.setattr(module, "_svg", keep)
    return found


def errors(*values):
    return {"denoising": [row("noise_scaled_mse", value, t) for t, value in enumerate(values)]}


def learned(power=1.0):
    return {"interpolation": [row("lambda", (s / 999) ** power, s) for s in range(1000)]}


def test_errors_are_the_mean_over_seeds_at_the_steps_that_all_have(make_run, runs, panels):
    for seed, values in enumerate(([1.0, 2.0, 9.0], [3.0, 6.0])):
        make_run(("diffusion", "adm", "dpi"), errors(*values), seed)
    drawn(runs)
    (axes,) = panels.values()
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0, 2.0], [1, 4.0]]
    # One standard error to either side: 1 at the first step, 2 at the second.
    extent = axes.collections[0].get_paths()[0].get_extents()
    assert tuple(extent.intervaly) == (1.0, 6.0)


def test_panels_are_the_blocks_that_there_are_with_all_their_models(make_run, runs, panels):
    make_run(("diffusion", "mine", "own"), errors(1.0, 2.0))
    for settings in ({}, {"cond.init": "independent"}):
        make_run(("diffusion", "mine", "dpi"), errors(1.0, 2.0), settings=settings)
    make_run(("diffusion", "adm", "dpi"), errors(1.0, 2.0), settings={"data.held_out": 200})
    drawn(runs)
    assert {title: len(axes.lines) for title, axes in panels.items()} == {
        "mine, diffusion": 3,
        "ADM, diffusion; held_out = 200": 1,
    }
    assert len({line.get_color() for line in panels["mine, diffusion"].lines}) == 3


def test_curves_are_thinned_and_keep_their_ends(make_run, runs, panels):
    make_run(("flow", "drunet", "dpi"), learned(2))
    drawn(runs)
    (curve,) = panels["DRUNet, flow"].lines
    assert len(curve.get_xdata()) == 200
    assert curve.get_xydata()[[0, -1]].tolist() == [[0, 0], [999, 1]]


def test_long_titles_are_within_the_figure(make_run, runs, panels):
    settings = {f"training.a_setting_{i}": i for i in range(4)}
    for arch in ("adm", "drunet"):
        make_run(("diffusion", arch, "dpi"), errors(1.0, 2.0), settings=settings)
    drawn(runs)
    figure = next(iter(panels.values())).figure
    figure.draw_without_rendering()
    left, right = (axes.title.get_window_extent() for axes in figure.axes)
    assert all("a_setting_3 = 3" in title for title in panels)
    assert 0 < left.x0 < left.x1 < right.x0 < right.x1 < figure.bbox.width
    assert left.y1 < figure.bbox.height


def test_svg_takes_the_colour_of_its_surroundings(make_run, runs):
    folder = make_run(("diffusion", "adm", "dpi"), errors(1.0, 2.0) | learned())
    write_log(folder, 0, {1: (5.0, 6.0), 2: (4.0, 5.0)})
    found = drawn(runs)
    assert list(found) == ["lambda", "errors", "losses"]
    for svg in found.values():
        texts = re.findall(r"<text [^>]*>", svg)
        assert texts and all("currentColor" in text for text in texts)
        assert "ADM, diffusion" in svg
        assert "010203" not in svg
        assert not re.search(r'id="\w+_\d+"', svg)


def test_names_are_no_formulas_and_no_markup(make_run, runs):
    name = r"a$x^{$b <script>"
    make_run(("diffusion", name, "dpi"), errors(1.0, 2.0))
    make_run(("diffusion", "adm", name), errors(1.0, 2.0))
    for svg in drawn(runs).values():
        assert "<script>" not in svg and "a$x^{$b" in svg
