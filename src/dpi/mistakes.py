"""What Hydra refuses on a command line, in one line that says what to write instead."""

import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dpi.errors import UserError
from dpi.groups import CONFIGS, groups_of
from dpi.runs.files import CONFIG
from dpi.runs.identity import as_typed, flatten

REFUSED = {
    "Config group override must be": "a config group is null: name an option, see --help",
    "Only one of --run": "-m, --cfg and --info exclude each other: give one of them",
}
"""What Hydra says in a bare ValueError, and what to say instead."""

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
VALUED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("", *INFO)),
    **dict.fromkeys(("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"), ()),
    **dict.fromkeys(("--package", "-p"), ()),
}
FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--run", "-r"),
    *("--multirun", "-m", "--resolve", "--shell-completion", "-sc"),
)
"""The options of Hydra's command line: with a value behind them, one of these if there are any; and
without."""


def explain(error: Exception, name: str, words: Sequence[str]) -> str | None:
    """One line on an error of Hydra or OmegaConf; None for others.

    Args:
        error: theirs.
        name: of the configuration, such as "train".
        words: of the command line, without the script.
    """
    text = str(error)
    if said := [said for begin, said in REFUSED.items() if begin in text]:
        return said[0]
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    keys, options = _known(name, words)
    if isinstance(error, OverrideParseException):
        word = str(error.override)
        if "=" in word:
            return f"{word}: this cannot be parsed; is it {as_typed(*word.split('=', 1))}?"
        return f"{word}: settings are KEY=VALUE, {_meant(word, name, keys, options)}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^=]+)=(.*?)'", text):
        key, value = ambiguous.groups()
        listed = key == "eval" or isinstance(keys.get(key), list)
        one = f"{key}=[{value}]" if listed else as_typed(key, value)
        return f"{key}={value}: for a sweep over these values add -m; if it is one, give {one}"
    if option := re.search(r"Could not (?:find|load) '(\w+)/([^']*)'", text):
        return f"{option[1]}={option[2]}: choose from {', '.join(options.get(option[1], []))}"
    if unknown := re.search(r"Could not (?:override|find) '((?:eval\.(\w+))?[^']*)'", text):
        key, evaluation = unknown.groups()
        hint = _nearest(key, keys)
        if evaluation in options.get("eval", ()) and f"eval.{evaluation}._target_" not in keys:
            hint = f"choose eval=[{evaluation}], too"
        if key.startswith("trainer."):
            hint += f" An option of Lightning's Trainer that is not listed is set with +{key}="
        return f"there is no key {key}: {hint}"
    return first_lines(error)


def first_lines(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).splitlines() + str(error.__cause__ or "").splitlines()
    return "; ".join(line.strip() for line in lines[:2] if line.strip())


def check_words(name: str, words: Sequence[str]) -> None:
    """Raise UserError for ~KEY where it is needed, for two experiments, of which Hydra drops one,
    and where argparse would print its usage."""
    if sum(word.startswith("experiment=") for word in words) > 1:
        raise UserError(
            "experiment= is given twice: give one, and the other's options by themselves"
        )
    cfg = OmegaConf.load(CONFIGS / f"{name}.yaml")
    needed = dict.fromkeys(groups_of(name)) | flatten(OmegaConf.to_container(cfg))
    for key in (word[1:].partition("=")[0] for word in words if word.startswith("~")):
        if any(f"{other}.".startswith(f"{key}.") for other in needed):
            raise UserError(f"~{key}: this is needed, set it to another value instead")

    begun = ended = False
    for word in (given := iter(words)):
        option, _, value = word.partition("=")
        if not word.startswith("-"):
            if ended:
                raise UserError(f"{word}: write settings together, behind options such as -m")
            begun = True
        elif option in VALUED:
            value, choices = value or next(given, ""), VALUED[option]
            if value not in choices if choices else not value:
                raise UserError(
                    f"{option}={value}: give {' or '.join(filter(None, choices)) or 'a value'}"
                )
        elif option not in FLAGS or value:
            meant = _nearest(option.lstrip("-"), needed)
            raise UserError(f"{word}: settings are KEY=VALUE, without dashes; {meant}")
        ended |= begun and word.startswith("-")


def _known(name: str, words: Sequence[str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """All keys of a command, with values, as the words choose them; the options of its groups."""
    groups, cfg = groups_of(name), OmegaConf.load(CONFIGS / f"{name}.yaml")
    where = [word for word in words if word.startswith("hydra.searchpath=")]
    for option, folder in pairwise([*words, ""]):
        if option in ("--config-dir", "-cd"):
            where = [f"hydra.searchpath=['file://{Path(folder).absolute()}']"]
    chosen = [*where, *(word for word in words if word.partition("=")[0] in groups)]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        options = {group: loader.get_group_options(group, None, name, where) for group in groups}
        for overrides in ([], chosen) if groups else ():
            with suppress(HydraException):  # the choice may be what is wrong
                cfg = compose(name, overrides)
    return flatten(OmegaConf.to_container(cfg)) | dict.fromkeys(groups), options


def _nearest(key: str, keys: dict[str, Any]) -> str:
    """Names the key that was meant: one much like it, one of such an end, or the most similar."""
    whole, ends = {key: key for key in keys}, {key.split(".")[-1]: key for key in reversed(keys)}
    end = key.split(".")[-1]
    for typed, among, least in ((key, whole, 0.75), (end, ends, 0.75), (key, whole, 0.6)):
        if near := get_close_matches(typed, among, 1, least):
            return f"did you mean {among[near[0]]}=...?"
    return "see --help"


def _meant(word: str, name: str, keys: dict[str, Any], options: dict[str, list[str]]) -> str:
    """Names the setting that was meant by a path, an option of a group, or a key alone."""
    if (path := Path(word)).exists():
        key = {"train": "data.path", "report": "runs"}.get(name, "run")
        runs = [str(of) for of in path.parents if (of / CONFIG).is_file() and key == "run"]
        return f"did you mean {as_typed(key, *runs[:1] or [word])}?"
    for group in options:
        if word in options[group]:
            return f"did you mean {group}={f'[{word}]' if group == 'eval' else word}?"
    return _nearest(word, keys)
