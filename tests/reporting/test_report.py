import subprocess
import sys

from dpi.evaluation.rows import Row

KIND = ("diffusion", "drunet", "dpi")


def test_everything_is_written_and_printed(command, papers_runs, tmp_path):
    done = command("report.py", f"runs={papers_runs}", "out=out")
    assert done.status == 0, done.err
    tables = [f"table{i}" for i in range(1, 6)] + ["ablations"]
    names = {f"{table}.{end}" for table in tables for end in ("md", "tex", "csv")}
    names |= {f"figure{i}.png" for i in range(2, 6)} | {"index.html"}
    assert {path.name for path in (tmp_path / "out/avatars-mini").iterdir()} == names
    for i in range(1, 6):
        assert f"## Table {i}\n" in done.out
    assert "page    out/avatars-mini/index.html" in done.out


def test_what_a_later_report_does_not_have_goes(command, make_run, papers_runs, tmp_path):
    assert command("report.py", f"runs={papers_runs}", "out=out").status == 0
    (tmp_path / "out/avatars-mini/mine.txt").touch()
    make_run(KIND, {})
    assert command("report.py", "runs=runs", "out=out").status == 0
    left = sorted(path.name for path in (tmp_path / "out/avatars-mini").iterdir())
    assert left == ["index.html", "mine.txt"]


def test_without_runs_it_says_how_to_make_some(command):
    done = command("report.py")
    assert done.status == 1
    assert done.err.strip() == (
        "error: outputs holds no runs to report: make some, such as with `make table2 SCALE=mini`"
    )


def test_each_scale_has_a_report_of_its_own(command, make_run, tmp_path):
    make_run(KIND, {})
    make_run(KIND, {}, scale="small")
    assert command("report.py", "runs=runs", "out=one", "names.scale=small").status == 0
    assert command("report.py", "runs=runs", "out=all").status == 0
    pages = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("index.html"))]
    folders = ["all/avatars-mini", "all/avatars-small", "one/avatars-small"]
    assert [str(path.parent) for path in pages] == folders


def test_what_is_left_out_is_said(command, make_run, tmp_path):
    make_run(KIND, {"denoising": [Row("mse", 1.0)]}, finished=False)
    old = tmp_path / "runs" / "old"
    old.mkdir()
    (old / "config.yaml").write_text("seed: 0\n")
    done = command("report.py", "runs=runs", "out=out")
    for line in (
        "Left out: 1 folder whose configuration has no `names`.",
        "Left out: 1 row measured before the end of the training of "
        "avatars-diffusion-drunet-dpi-mini-seed0.",
    ):
        assert line in done.out
        assert line in (tmp_path / "out/avatars-mini/index.html").read_text()


def test_a_report_waits_for_no_torch():
    loaded = "import sys, dpi.configuration, dpi.reporting.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded]).returncode == 0
