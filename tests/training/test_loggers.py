"""Every logger gets what a run is and what came of it, and a resumed run continues."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ColParams, ListSessionGroupsRequest
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler
from wandb.proto.wandb_internal_pb2 import Record

EVAL = ["eval=[complexity]", "eval.complexity.repeats=1"]


def table(logdir: Path) -> list[tuple[dict, dict]]:
    """The rows of TensorBoard's HPARAMS tab: hyperparameters and metrics of each run.

    TensorBoard reads a run's files in the order of their names, which begin with the second they
    were made in. Here several are made in one second: they are renamed in the order written.
    """
    written = sorted(logdir.rglob("*tfevents*"), key=lambda path: path.stat().st_mtime_ns)
    for number, path in enumerate(written):
        path.rename(path.with_name(f"events.out.tfevents.{number:010d}.test"))
    events = EventMultiplexer().AddRunsFromDirectory(str(logdir)).Reload()
    request = RequestContext()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(events, str(logdir))))
    found = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, found, {})
    columns = [ColParams(metric=info.name) for info in experiment.metric_infos]
    asked = ListSessionGroupsRequest(allowed_statuses=[0, 1], slice_size=100, col_params=columns)
    return [
        (
            {k: v.string_value or v.number_value for k, v in row.hparams.items()},
            {m.name.tag: (m.value, m.training_step) for m in row.metric_values},
        )
        for row in Handler(request, context, "", asked).run().session_groups
    ]


def records(path: Path) -> Iterator[Record]:
    """Of a .wandb file: a header, then LevelDB's log format."""
    data, place, parts = path.read_bytes(), 7, b""
    while place < len(data):
        left = 2**15 - place % 2**15  # in the block
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def session(path: Path) -> tuple[str, dict, dict]:
    """The id, the configuration and the summary in a .wandb file."""
    name, config, summary = "", {}, {}
    for record in records(path):
        name = record.run.run_id or name
        for update in (*record.run.config.update, *record.config.update):
            config[update.key] = json.loads(update.value_json)
        for update in record.summary.update:
            summary[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
    return name, config, summary


@pytest.mark.slow
def test_tensorboard_and_csv(command, tiny):
    for cond in ("dpi", "tmap"):
        which = [f"cond={cond}", f"run=runs/{cond}", "logger=tensorboard"]
        command("train.py", *tiny, *which, "training.lr=0.002")
    command("train.py", *tiny, *which, "training.lr=0.002", "training.steps=5", *EVAL)
    rows = table(Path("runs"))
    assert {values["names.cond"] for values, _ in rows} == {"dpi", "tmap"}
    for values, metrics in rows:
        assert values["training.lr"] == 0.002 and values["arch.channels"] == "[4, 8]"
        resumed = values["names.cond"] == "tmap"
        assert (metrics["val_loss"][1] > 3) == resumed
        assert ("complexity/parameters" in metrics) == resumed
    for path in (Path("runs/tmap/tensorboard"), *Path("runs/tmap/log").iterdir()):
        values = yaml.safe_load((path / "hparams.yaml").read_text())
        assert values["names"]["cond"] == "tmap" and values["training"]["lr"] == 0.002
        assert "accelerator" not in values["trainer"] and "cache_dir" not in values["data"]
    assert len(list(Path("runs/tmap/log").iterdir())) == 2  # a version for each session
    (events,) = Path("runs/dpi/tensorboard").rglob("events.*")
    assert all(name in events.read_bytes() for name in (b"samples", b"lambda"))


@pytest.mark.slow
def test_wandb(command, tiny, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    command("train.py", "-m", *tiny, "logger=wandb", "cond=dpi,tmap", "run=${names.cond}")
    command("train.py", *tiny, "logger=wandb", "run=dpi", "training.steps=5", *EVAL)
    first, second = (session(path) for path in sorted(Path("dpi").rglob("*.wandb")))
    drawn = {path.name.split("_")[0] for path in Path("dpi/wandb").rglob("*.png")}
    assert drawn == {"samples", "lambda"}
    (other,) = (session(path) for path in Path("tmap").rglob("*.wandb"))
    assert first[0] == second[0] != other[0]
    assert first[1]["training"]["steps"] == 3 and second[1]["training"]["steps"] == 5
    assert (first[1]["names"]["cond"], other[1]["names"]["cond"]) == ("dpi", "tmap")
    assert "val_loss" in first[2] and "complexity/parameters" not in first[2]
    rows = json.loads(Path("dpi/evaluation/complexity.json").read_text())
    assert second[2]["trainer/global_step"] == 5
    for row in rows:
        assert second[2][f"complexity/{row['metric']}"] == row["value"]
