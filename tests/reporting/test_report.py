import io
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from reporting.made_up import row

from dpi.errors import UserError
from dpi.reporting import report

KIND = ("diffusion", "drunet", "dpi")


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_everything_is_written_and_printed(papers_report):
    folder, out = papers_report
    tables = [f"table{i}" for i in range(1, 6)] + ["ablations"]
    names = {f"{table}.{end}" for table in tables for end in ("md", "tex", "csv")}
    names |= {f"figure{i}.svg" for i in range(2, 6)}
    assert files(folder) == names | {"index.html", "results.csv", "pairs.md", "pairs.csv"}
    for table in tables:
        assert (folder / f"{table}.md").read_text() in out
    assert "\nOver the schedule DPI's error is lower than that of every other model in 2 of" in out
    assert out.rstrip().endswith(f"page    {folder / 'index.html'}")


def test_results_can_be_used_in_a_notebook(papers_report):
    folder, _ = papers_report
    results = pd.read_csv(folder / "results.csv")
    assert {"run", "seed", "model", "protocol", "training_steps", "settings.n"} <= {*results}
    linear = results[results.config == '{"cond.schedule": "linear"}']
    assert set(linear.model) == {"DPI, schedule = linear"}
    fid = results[(results.metric == "fid") & (results.arch == "adm")]
    means = fid.groupby(["framework", "model"]).value.mean()
    assert means["diffusion", "DPI"] == pytest.approx(8.32)
    assert means["flow", "t map"] == pytest.approx(8.51)
    assert len(results[(results.metric == "lambda") & (results.seed == 1)]) == 4 * 1000
    # Once more, without a change.
    text = results.to_csv(index=False)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), results)
    pairs = pd.read_csv(folder / "pairs.csv")
    assert set(pairs.outcome) == {"better", "worse"}


def test_a_report_can_be_made_from_its_results_alone(papers_report, tmp_path):
    folder, _ = papers_report
    report(folder / "results.csv", tmp_path)
    again = tmp_path / "avatars-mini"
    assert files(folder) - files(again) == {"figure2.svg", "figure5.svg"}, "samples are elsewhere"
    for name in files(again) - {"index.html"}:
        assert (again / name).read_text() == (folder / name).read_text(), name
    page = (again / "index.html").read_text()
    assert "Table 2" in page and 'id="runs"' not in page and "<script>" not in page


def test_results_that_are_seldom_round_trip(make_run, runs, tmp_path):
    """Settings of every kind, and names that a reader could take for missing values."""
    settings = {"tag": "nan", "data.held_out": 200, "arch.base_channels": 48}
    rows = [row("mse", 1 / 3, n=2, solver="NA", weights="00123", rate=0.25), row("mse", 1e-9, 0)]
    images = {"images": "0123456789ab", "split": "00123456"}
    for seed in (0, 1):
        make_run(("diffusion", "NA", "null"), {"denoising": rows}, seed, settings, **images)
    make_run(("flow", "adm", "dpi"), {"fidelity": [row("fid", 1.0, n=50_000)]})
    report(runs, tmp_path / "one")
    report(tmp_path / "one" / "avatars-mini" / "results.csv", tmp_path / "two")
    one, two = tmp_path / "one" / "avatars-mini", tmp_path / "two" / "avatars-mini"
    for name in files(two) - {"index.html"}:
        assert (two / name).read_text() == (one / name).read_text(), name
    text = (two / "results.csv").read_text()
    assert ",0123456789ab,00123456," in text
    assert '"{""arch.base_channels"": 48, ""data.held_out"": 200, ""tag"": ""nan""}"' in text


def test_several_results_make_one_report(make_run, runs, tmp_path):
    for cond, folder in (("tmap", "a"), ("dpi", "b")):
        make_run(("diffusion", "adm", cond), {"denoising": [row("mse", len(cond))]})
        report(runs, tmp_path / folder)
        shutil.rmtree(runs)
    report(tmp_path / "[ab]" / "avatars-mini" / "results.csv", tmp_path / "both")
    table = (tmp_path / "both" / "avatars-mini" / "table2.md").read_text()
    assert "4.000e0" in table and "3.000e0" in table


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"runs=.*results\.csv: there is no such file"),
        ("a,b\n1,2\n", r"results\.csv cannot be read"),
        ("", r"results\.csv cannot be read"),
        (b"\xff\xfe", r"results\.csv cannot be read"),
    ],
)
def test_a_file_of_other_numbers_is_named(tmp_path, content, said):
    path = tmp_path / "results.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=said) as error:
        report(path, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_results_of_a_name_that_is_no_file_name_are_refused(make_run, runs, tmp_path):
    make_run(KIND, {"denoising": [row("mse", 1.0)]})
    report(runs, tmp_path)
    path = tmp_path / "avatars-mini" / "results.csv"
    path.write_text(path.read_text().replace("avatars,mini", "../outside,mini"))
    with pytest.raises(UserError, match=r"results\.csv cannot be read \(names\.data="):
        report(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_report_had_is_removed(make_run, runs, tmp_path):
    folder = tmp_path / "avatars-mini"
    folder.mkdir()
    for name in (
        "table2.md",
        "ablations.tex",
        "pairs.csv",
        "figure3.svg",
        "figure3.png",
        "mine.txt",
    ):
        (folder / name).touch()
    make_run(KIND)
    report(runs, tmp_path)
    made = {"index.html", "results.csv", "pairs.md", "pairs.csv"}
    assert files(folder) == made | {"mine.txt"}


def test_each_data_set_and_scale_has_a_report_of_its_own(make_run, runs, tmp_path):
    make_run(KIND)
    make_run(KIND, scale="small")
    report(runs, tmp_path / "one", scale="small")
    report(runs, tmp_path / "all")
    assert files(tmp_path / "one") == {"avatars-small"}
    assert files(tmp_path / "all") == {"avatars-mini", "avatars-small"}
    with pytest.raises(UserError) as error:
        report(runs, tmp_path / "none", data="ffhq64", scale="small")
    assert str(error.value) == (
        "there are no runs of data=ffhq64 scale=small: choose data=avatars scale=mini or "
        "data=avatars scale=small"
    )
    assert not (tmp_path / "none").exists()


def test_what_is_left_out_is_named(make_run, runs, tmp_path, capsys):
    run = make_run(KIND, {"denoising": [row("mse", 1.0)]}, finished=False)
    copy = run.with_name("copy")
    copy.mkdir()
    (copy / "config.yaml").write_text((run / "config.yaml").read_text())
    for i in range(7):
        (runs / f"old{i}").mkdir()
        (runs / f"old{i}" / "config.yaml").write_text("seed: 0\n")
    report(runs, tmp_path)
    out = capsys.readouterr().out
    page = (tmp_path / "avatars-mini" / "index.html").read_text()
    for line in (
        "Left out: folders whose configuration has no `names` or `settings`: old0, old1, old2, "
        "old3, old4 and 2 more.",
        "Left out: runs with the settings and the seed of another: copy.",
        f"Left out: 1 row measured before the end of the training: {run.name}.",
    ):
        assert line in out
        assert line in page
    assert 'id="run-copy"' not in page


def test_without_runs_it_says_how_to_make_some(runs, tmp_path):
    with pytest.raises(UserError, match="holds no runs to report: make some, such as with `make"):
        report(runs, tmp_path)
    (runs / "old").mkdir(parents=True)
    (runs / "old" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match="no runs to report but 1 whose configuration has no"):
        report(runs, tmp_path)


def test_nothing_is_written_outside_the_folder(make_run, runs, tmp_path):
    folder = make_run(KIND)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["names"]["data"] = "../../outside"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"config\.yaml"):
        report(runs, tmp_path / "a" / "b")
    assert files(tmp_path) == before


def test_the_command_reports_and_explains(command, make_run, tmp_path):
    make_run(KIND, {"denoising": [row("mse", 1.0)]})
    done = command("report.py", "runs=runs", "out=out", "scale=mini")
    assert done.status == 0, done.err
    assert "## Table 2: error of the predicted noise" in done.out
    assert (tmp_path / "out" / "avatars-mini" / "index.html").exists()
    done = command("report.py", "runs=runs", "scale=paper")
    assert (done.status, done.err.strip()) == (
        1,
        "error: there are no runs of scale=paper: choose data=avatars scale=mini",
    )


def test_a_report_waits_for_no_torch():
    loaded = "import sys, dpi.reporting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded]).returncode == 0


def test_runs_of_dpi_alone_have_nothing_to_be_compared_with(make_run, runs, tmp_path, capsys):
    make_run(KIND, {"denoising": [row("mse", 0.05), row("mse", 0.9, scalar=0)]})
    report(runs, tmp_path / "report")
    assert "There are no runs yet to compare DPI with." in capsys.readouterr().out


def test_runs_of_which_nothing_is_evaluated_say_how_to(make_run, runs, tmp_path, capsys):
    for arch in ("adm", "mine"):
        make_run(("diffusion", arch, "dpi"))
        report(runs, tmp_path / "report")
        out = capsys.readouterr().out
        assert "Nothing is evaluated yet: python evaluate.py run=outputs/RUN eval=[" in out
        assert "compare DPI with" not in out
        shutil.rmtree(runs)
