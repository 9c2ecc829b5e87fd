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
    tables = [*(f"table{i}" for i in range(1, 6)), "ablations", "pairs"]
    names = {f"{table}.{end}" for table in tables for end in ("md", "tex", "csv")}
    names |= {f"{figure}.svg" for figure in ("lambda", "errors", "losses")}
    assert files(folder) == names | {"index.html", "results.csv"}
    for table in tables:
        assert (folder / f"{table}.md").read_text() in out
    assert out.rstrip().endswith(f"page    {folder / 'index.html'}")


@pytest.mark.parametrize(
    ("data", "paper", "shown"),
    [
        ("faces64", None, "ranking"),
        ("faces64", True, "table2"),
        ("ffhq64", None, "table2"),
        ("ffhq64", False, "ranking"),
    ],
)
def test_the_papers_tables_are_those_of_its_data_or_on_request(
    make_run, runs, tmp_path, data, paper, shown
):
    path = make_run(KIND, {"denoising": [row("mse", 1.0)]}) / "config.yaml"
    path.write_text(path.read_text().replace("data: avatars", f"data: {data}"))
    report(runs, tmp_path, paper)
    folder = tmp_path / f"{data}-mini"
    assert {name for name in ("ranking", "table2") if f"{name}.md" in files(folder)} == {shown}
    page = (folder / "index.html").read_text()
    assert ("FFHQ" in page) == (shown == "table2")


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
    report(folder / "results.csv", tmp_path, paper=True)
    again = tmp_path / "avatars-mini"
    assert files(folder) - files(again) == {"losses.svg"}
    for name in files(again) - {"index.html"}:
        assert (again / name).read_text() == (folder / name).read_text(), name
    page = (again / "index.html").read_text()
    assert "Table 2" in page and 'id="runs"' in page and "popovertarget" not in page


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
    table = (tmp_path / "both" / "avatars-mini" / "ranking.md").read_text()
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


@pytest.mark.parametrize(
    ("key", "name"), [("data", "../../x"), ("scale", ".."), ("data", "a\\b"), ("scale", "a\nb")]
)
def test_a_name_that_is_no_file_name_is_refused(make_run, runs, tmp_path, key, name):
    path = make_run(KIND, {"denoising": [row("mse", 1.0)]}) / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["names"][key] = name
    path.write_text(yaml.safe_dump(config))
    before = files(tmp_path)
    with pytest.raises(UserError, match="is not a plain name"):
        report(runs, tmp_path / "a" / "b")
    assert files(tmp_path) == before


def test_what_an_earlier_report_had_is_removed(make_run, runs, tmp_path):
    folder = tmp_path / "avatars-mini"
    folder.mkdir()
    for name in (
        "table2.md",
        "ablations.tex",
        "pairs.csv",
        "lambda.svg",
        "mine.txt",
    ):
        (folder / name).touch()
    make_run(KIND)
    report(runs, tmp_path)
    made = {"index.html", "results.csv", "pairs.md", "pairs.csv", "pairs.tex"}
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
    damaged = make_run(KIND, seed=1) / "evaluation" / "samples.png"
    damaged.write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"samples\.png cannot be read \(.*; all else is reported"):
        report(runs, tmp_path)
    out = capsys.readouterr().out
    page = (tmp_path / "avatars-mini" / "index.html").read_text()
    for line in (
        "Left out: runs with the settings and the seed of another: copy.",
        f"Left out: rows from before the end of the training: {run.name}.",
        f"Left out: files that cannot be read: {damaged}.",
    ):
        assert line in out
        assert line in page
    assert 'id="run-copy"' not in page


def test_without_runs_it_says_how_to_make_some(runs, tmp_path):
    with pytest.raises(UserError, match="holds no runs to report: make some, as with `make"):
        report(runs, tmp_path)
    (runs / "old").mkdir(parents=True)
    (runs / "old" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match=r"old/config\.yaml cannot be read \('settings'\)"):
        report(runs, tmp_path)


def test_the_command_reports_and_explains(command, make_run, tmp_path):
    make_run(KIND, {"denoising": [row("mse", 1.0)]})
    done = command("report.py", "runs=runs", "out=out", "scale=mini", "paper=true")
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


def test_runs_of_which_nothing_is_evaluated_say_how_to(make_run, runs, tmp_path, capsys):
    make_run(("diffusion", "mine", "dpi"))
    report(runs, tmp_path / "report")
    assert "python evaluate.py run=outputs/RUN eval=" in capsys.readouterr().out
