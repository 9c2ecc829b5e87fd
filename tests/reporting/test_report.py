import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT
from reporting.made_up import row, save_checkpoint, save_split

from dpi.errors import UserError
from dpi.reporting import report

KIND = ("diffusion", "drunet", "dpi")


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_everything_is_written_and_printed(papers_report):
    folder, out = papers_report
    tables = [*(f"table{i}" for i in range(2, 6)), "ablations", "pairs"]
    names = {f"{table}.{end}" for table in tables for end in ("md", "csv")}
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
    assert {"run", "seed", "model", "protocol", "training_steps", "settings.pictures"} <= {*results}
    linear = results[results.config == '{"cond.schedule": "linear"}']
    assert set(linear.model) == {"DPI, schedule = linear"}
    fid = results[(results.metric == "fid") & (results.arch == "adm")]
    means = fid.groupby(["framework", "model"]).value.mean()
    assert means["diffusion", "DPI"] == pytest.approx(8.32)
    assert means["flow", "t map"] == pytest.approx(8.51)
    assert len(results[(results.metric == "lambda") & (results.seed == 1)]) == 4 * 112
    pairs = pd.read_csv(folder / "pairs.csv")
    assert set(pairs.outcome) == {"better", "worse"}


def test_several_results_make_one_report(make_run, runs, tmp_path):
    for cond, folder in (("tmap", "a"), ("dpi", "b")):
        make_run(("diffusion", "adm", cond), {"denoising": [row("mse", len(cond))]})
        report(runs, tmp_path / folder)
        shutil.rmtree(runs)
    report(tmp_path / "[ab]" / "avatars-mini" / "results.csv", tmp_path / "both")
    table = (tmp_path / "both" / "avatars-mini" / "ranking.md").read_text()
    assert "4.0000" in table and "3.0000" in table
    (tmp_path / "both").rename(tmp_path / "q[1]")  # what is there is no pattern
    report(tmp_path / "q[1]" / "avatars-mini" / "results.csv", tmp_path / "again")
    assert (tmp_path / "again" / "avatars-mini" / "ranking.md").read_text() == table


def test_two_runs_of_one_name_are_not_mixed(make_run, runs, tmp_path):
    make_run(("diffusion", "adm", "dpi"), {"denoising": [row("mse", 1.0)]})
    report(runs, tmp_path / "a")
    path = tmp_path / "a" / "avatars-mini" / "results.csv"
    (tmp_path / "b.csv").write_text(path.read_text())
    (tmp_path / "c.csv").write_text(path.read_text())
    report(tmp_path / "[bc].csv", tmp_path / "same")
    (tmp_path / "c.csv").write_text(path.read_text().replace(",3000,", ",6000,"))
    with pytest.raises(UserError, match=r"two runs are called .*: give them one by one"):
        report(tmp_path / "[bc].csv", tmp_path / "both")


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


def test_names_of_a_stranger_are_text(make_run, runs, tmp_path, capsys):
    """In a terminal, in a spreadsheet, where a reader could take them for missing values, and where
    they would be a folder; and their report can be made again."""
    settings = {"tag": "\x1b]0;owned\a", "cond.x": "\u202e", "data.x": "nan", "data.n": 200}
    of = {"solver": "=1+1", "rate": "-1e-05", "n": "@sum", "extractor": "NA", "weights": "00123"}
    rows = {"denoising": [row("mse", -1 / 3, **of), row("-x", 1e-9, 0)]}
    for seed in range(2):
        folder = make_run(("diffusion", "=cmd()", "null"), rows, seed, settings)
        save_split(folder, "0123456789", [1, 2])
        folder.rename(folder.with_name(f"seed{seed}"))
    make_run(("flow", "adm", "dpi"), {"fidelity": [row("fid", 1.0, n=50_000)]})
    report(runs, tmp_path / "one")
    said = capsys.readouterr().out
    one, two = (tmp_path / name / "avatars-mini" for name in ("one", "two"))
    assert not re.search(r"[\x1b\a\u202e]", said)
    assert not any(re.search(r"[\x1b\a\u202e]", path.read_text()) for path in one.iterdir())
    results = pd.read_csv(one / "results.csv", dtype=str, keep_default_na=False)
    cells = {*results.to_numpy().ravel(), *pd.read_csv(one / "ranking.csv").row}
    assert {"'=cmd()", "'=1+1", "'@sum", "'-x", "-1e-05", str(-1 / 3), "NA", "00123"} <= cells
    assert not [text for text in cells if re.match(r"[=+@]|-\D", str(text))]

    report(one / "results.csv", tmp_path / "two")
    for name in files(two) - {"index.html"}:
        assert (two / name).read_text() == (one / name).read_text(), name
    page = (two / "index.html").read_text()
    assert 'id="runs"' in page and "popovertarget" not in page
    text = (one / "results.csv").read_text().replace(",avatars,", ",../../x,")
    (one / "results.csv").write_text(text)
    with pytest.raises(UserError, match=r"'\.\./\.\./x' is not a plain name"):
        report(one / "results.csv", tmp_path / "a" / "b")


RUN = """import runpy, sys
sys.argv[0] = "report.py"
runpy.run_path({path!r}, run_name="__main__")
sys.exit("torch" in sys.modules)"""


def test_it_waits_for_no_torch_and_signs_that_the_terminal_lacks_end_nothing(make_run, tmp_path):
    make_run(("diffusion", "adm", "sigmamap"), {"denoising": [row("mse", 1.0)]})
    code = RUN.format(path=str(ROOT / "report.py"))
    command = [sys.executable, "-c", code, "runs=runs", "out=out"]
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert rb"\u03c3 map" in done.stdout


def test_what_an_earlier_report_had_is_removed(make_run, runs, tmp_path):
    folder = tmp_path / "avatars-mini"
    folder.mkdir()
    for name in (
        "table2.md",
        "ablations.md",
        "pairs.csv",
        "lambda.svg",
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
        "there are no runs of these data= and scale=: choose data=avatars scale=mini or "
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


def test_runs_of_other_lengths_are_not_averaged(make_run, runs, tmp_path, capsys):
    for name, value, seed, steps in (
        ("base", 9.0, 0, 20),
        ("short1", 7.0, 1, 20),
        ("seed0", 1.0, 0, 200),
        ("seed1", 3.0, 1, 200),
        ("twice", 4.0, 1, 200),
    ):
        rows = {"denoising": [row("mse", value)]}
        make_run(KIND, rows, seed, steps=steps, weights=name, run=name).rename(runs / name)
    more = make_run(KIND, {"denoising": [row("mse", 3.0), row("mse", 5.0, 9)]}, 1, steps=200)
    report(runs, tmp_path)
    out = capsys.readouterr().out
    values = pd.read_csv(tmp_path / "avatars-mini/ranking.csv").groupby("block").value
    of = "DRUNet, diffusion; steps"
    assert values.apply(list).to_dict() == {f"{of} = 20": [8.0], f"{of} = 200": [2.0]}
    assert "Left out: runs with the settings and the seed of another: seed1, twice." in out
    assert more.name in (tmp_path / "avatars-mini/results.csv").read_text()
    assert "Runs of other lengths, on other images" in out


def test_of_copies_one_with_rows_of_its_weights_counts(make_run, runs, tmp_path, capsys):
    run = make_run(KIND)
    last = save_checkpoint(run)
    make_run(KIND, {"denoising": [row("mse", 1.0)]}, checkpoint=last)
    for name in ("back", "copy", "seed1"):
        shutil.copytree(run, runs / name)
    save_checkpoint(runs / "back")
    shutil.rmtree(run)
    report(runs, tmp_path)
    out = capsys.readouterr().out
    assert "1.0000" in (tmp_path / "avatars-mini/ranking.md").read_text()
    assert "Left out: runs with the settings and the seed of another: seed1, back." in out


def test_without_runs_it_says_how_to_make_some(runs, tmp_path):
    with pytest.raises(UserError, match="holds no runs to report: make some, as with `make"):
        report(runs, tmp_path)
    (runs / "old").mkdir(parents=True)
    (runs / "old" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match=r"old/config\.yaml cannot be read \('settings'\)"):
        report(runs, tmp_path)


def test_the_command_reports(command, make_run, tmp_path):
    make_run(KIND, {"denoising": [row("mse", 1.0)]})
    done = command("report.py", "runs=runs", "out=out", "scale=mini", "paper=true")
    assert "## Table 2: error of the predicted noise" in done.out
    assert (tmp_path / "out" / "avatars-mini" / "index.html").exists()


def test_runs_of_which_nothing_is_evaluated_say_how_to(make_run, runs, tmp_path, capsys):
    make_run(("diffusion", "mine", "dpi"))
    report(runs, tmp_path / "report")
    assert "python evaluate.py run=outputs/RUN eval=" in capsys.readouterr().out


def test_the_terminal_shows_no_escapes_of_markdown(make_run, runs, tmp_path, capsys):
    make_run(KIND, {"objective": [row("objective", 1.0)]}, settings={"cond.include": ["a*", "b*"]})
    report(runs, tmp_path)
    said = "include = a*, b*"
    assert said in capsys.readouterr().out
    assert said not in (tmp_path / "avatars-mini/ranking.md").read_text()
