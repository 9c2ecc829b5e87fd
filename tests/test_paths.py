"""Paths of real people: what their runs are called, and what is printed for them to type."""

import re
import shlex
from pathlib import Path

from conftest import image_folder
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from dpi.runs.identity import as_typed

ODD = st.sampled_from(["\\", "'", '"', "ü", " ", "$", "`", "!", ",", "=", "{", "]", "#", "~"])
WORDS = st.sampled_from(["true", "Null", "1e3", "1_0", "-.5", "inf", "0x1", "", "~/x", "a:b"])


@given(st.one_of(WORDS, st.text(st.one_of(ODD, st.characters(exclude_characters="\0")))))
def test_what_is_printed_to_be_typed_is_read_back_as_the_same_text(value):
    (word,) = shlex.split(as_typed("data.path", value))
    assert OverridesParser.create().parse_override(word).value() == value


def test_any_folder_is_trained_on_and_what_is_printed_can_be_typed(command, own, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    folder = image_folder("Fotos (für Oma), a=b $HOME's", 12)
    typed = f"{as_typed('data.path', f'~/{folder}')} {as_typed('run', 'out puts/it')}"
    done = command("train.py", *own, "data=folder", "data.held_out=2", *shlex.split(typed))
    commands = re.findall(r"python (.*)", done.out)
    assert len(commands) == 2
    for line in commands:
        script, typed, *_ = shlex.split(line)
        few = ["n=1", "steps=1", "device=cpu"]
        if script == "evaluate.py":
            few = ["eval=interpolation", "accelerator=cpu"]
        command(script, typed, *few)
