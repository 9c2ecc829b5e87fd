import pytest

from dpi.errors import UserError
from dpi.evaluation.rows import Row
from dpi.reporting.collect import collect, sets, single

KIND = ("diffusion", "drunet", "dpi")


def only(tmp_path):
    (run,), _ = collect(tmp_path / "runs")
    return run


def test_the_last_step_and_its_last_weights_count(make_run, tmp_path):
    for step, weights, value in ((1000, "old", 3.0), (3000, "wrong", 2.0), (3000, "right", 1.0)):
        rows = {"denoising": [Row("mse", value)]}
        make_run(KIND, rows, step=step, weights=weights)
    assert only(tmp_path).rows[("mse", None)]["value"] == 1.0


def test_the_most_thorough_row_counts_wherever_it_stands(make_run, tmp_path):
    def row(value, **settings):
        return Row("mse", value, settings=settings)

    thorough = row(1.0, scalars=1000, noise_seeds=2)
    quick = row(2.0, scalars=28, noise_seeds=20)
    make_run(KIND, {"denoising": [quick, thorough, row(3.0, scalars=1000, noise_seeds=1)]})
    assert only(tmp_path).rows[("mse", None)]["value"] == 1.0


def test_rows_of_an_unfinished_training_are_counted_and_left_out(make_run, tmp_path):
    make_run(KIND, {"denoising": [Row("mse", 1.0), Row("mse", 2.0, scalar=0)]}, finished=False)
    run = only(tmp_path)
    assert (run.rows, run.unfinished) == ({}, 2)


def test_folders_that_do_not_say_what_they_are_are_counted(make_run, tmp_path):
    make_run(KIND, {})
    old = tmp_path / "runs" / "old"
    old.mkdir()
    (old / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "runs" / "sweeps").mkdir()
    runs, unnamed = collect(tmp_path / "runs")
    assert (len(runs), unnamed) == (1, 1)


@pytest.mark.parametrize("name", ["config.yaml", "evaluation/denoising.json"])
def test_a_damaged_file_is_named(make_run, tmp_path, name):
    folder = make_run(KIND, {"denoising": [Row("mse", 1.0)]})
    (folder / name).write_text("[{")
    with pytest.raises(UserError, match=name):
        collect(tmp_path / "runs")


def test_each_data_set_and_scale_is_a_set_of_its_own(make_run, tmp_path):
    make_run(KIND, {})
    make_run(KIND, {}, scale="small")
    runs, _ = collect(tmp_path / "runs")
    both = sets(runs, None, None)
    assert both.keys() == {("avatars", "mini"), ("avatars", "small")}
    assert sets(runs, None, "small") == {("avatars", "small"): both["avatars", "small"]}
    with pytest.raises(UserError, match=r"no runs of names\.scale=paper: choose names\.data=av"):
        sets(runs, None, "paper")


def test_a_copy_of_a_run_does_not_count_twice(make_run, tmp_path):
    folder = make_run(KIND, {})
    folder.with_name("copy").mkdir()
    (folder.with_name("copy") / "config.yaml").write_text((folder / "config.yaml").read_text())
    kept, others = single(collect(tmp_path / "runs")[0])
    assert [run.folder.name for run in kept] == [folder.name]
    assert [run.folder.name for run in others] == ["copy"]
