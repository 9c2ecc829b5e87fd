"""What distinguishes runs: all of their configuration that is not known to be harmless."""

import hashlib
import re
import shlex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from dpi.runs.files import initial_digits

HARMLESS = (
    # what it is called and where it is written
    *("run", "tag", "names", "settings"),
    # what is logged and shown, and how often
    *("logger", "training.show"),
    # what is measured after the training
    *("eval", "effort"),
    # a longer run extends a shorter one
    "training.steps",
    # devices and execution: the same numbers but for rounding (and for which units drop out)
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.compile", "trainer.channels_last", "trainer.enable_progress_bar", "cond.mode"),
    # where the images and the list of near-duplicates are; their contents are compared instead
    *("data.name", "data.path", "data.cache_dir", "data.source.path", "data.source.missing"),
    *("data.source.cache_dir", "data.duplicates"),
    # which images are read, and that they are left out, is in the fingerprint
    *("data.skip_broken", "data.source.skip_broken"),
    *("data.max_pixels", "data.source.max_pixels"),
)
"""Keys and sections that cannot change what is learned. Any other key distinguishes runs."""

RECORDED = ("data.held_out", "training.init_from")
"""What these lead to is recorded, and compared instead: which images are held out, and
`training.init_weights`."""

GROUPS = (
    *("data", "framework", "arch", "cond", "scale"),
    *("trainer", "logger", "eval", "effort", "sweep"),
)
"""Config groups that are part of a run's name already, or whose choice is harmless."""

LONGEST = 120
"""Characters of a run's name that its settings may take; longer ones end in a hash."""


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The values that two configurations of one run share, under dotted keys."""
    values = flatten(OmegaConf.to_container(cfg, resolve=True))
    return {key: value for key, value in values.items() if not _within(key, (*HARMLESS, *RECORDED))}


def hyperparameters(cfg: DictConfig) -> dict[str, Any]:
    """What loggers compare runs by, nested: names, number of steps and all of their identity."""
    chosen = OmegaConf.create()
    for key, value in identity(cfg).items():
        OmegaConf.update(chosen, key, value)
    chosen.training.steps = cfg.training.steps
    return {"names": dict(cfg.names)} | OmegaConf.to_container(chosen)


def settings(*, _root_: DictConfig) -> DictConfig:
    """The resolver ${settings:}: what the command line sets beyond the groups of a run's name.

    Returns:
        Dotted keys and their values, harmless ones left out, e.g. {"cond.schedule": "linear"};
        the tag comes last.
    """
    overrides = (word.lstrip("+~").partition("=") for word in HydraConfig.get().overrides.task)
    choices = HydraConfig.get().runtime.choices
    found = {}
    for key, _, text in sorted(overrides):
        if key in choices:
            if key not in GROUPS:
                found[key] = text
        elif key != "seed" and not _within(key, HARMLESS):
            value = OmegaConf.select(_root_, key)
            found[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            if key == "training.init_from" and value:  # by its content, wherever it is
                found[key] = initial_digits(str(value)) or value
    return OmegaConf.create(found | ({"tag": _root_.tag} if _root_.tag else {}))


def suffix(*, _root_: DictConfig) -> str:
    """The resolver ${suffix:}: the settings as the end of a run's name, e.g. -schedule_linear."""
    parts = [
        _part(value) if key == "tag" else f"{key.rpartition('.')[2]}_{_part(value)}"
        for key, value in OmegaConf.to_container(settings(_root_=_root_)).items()
    ]
    text = "".join(f"-{part}" for part in parts)
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def is_plain(name: Any) -> bool:
    """Whether a name can be part of a file's: it names no other folder, and needs no quotes."""
    text = "" if name is None else str(name)
    return bool(re.fullmatch(r"[\w.+=-]+", text)) and ".." not in text and text != "."


def plain_name(text: str) -> str:
    """A text as part of a file's name that a command line takes without quotes; one that had to be
    changed ends in digits of its hash."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+|\.\.+", "_", text)
    digits = hashlib.sha256(text.encode()).hexdigest()[:6]
    return text if plain == text and text != "." else f"{plain}-{digits}"


def as_typed(key: str, value: str) -> str:
    """A setting as one types it: with quotes where the shell needs them, or where Hydra would else
    read no text, or another."""
    parse = OverridesParser.create().parse_override
    if re.fullmatch(r"[\w./:@%+-]*", value, re.ASCII) and parse(f"key={value}").value() == value:
        return f"{key}={value}"
    word = f"{key}={QuotedString(value, Quote.single).with_quotes()}"
    return shlex.quote(word) if re.search(r"[$`\\\"!]", word) else f'"{word}"'


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries under their dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    dot = "." if prefix else ""
    return {k: v for name, n in node.items() for k, v in flatten(n, f"{prefix}{dot}{name}").items()}


def _part(value: Any) -> str:
    if isinstance(value, list) and value and not any(isinstance(item, list) for item in value):
        return "_".join(map(_part, value))
    if isinstance(value, int | float) and value >= 0:
        return str(value).replace("-", "_")  # 1e_05
    return plain_name(str(value))


def _within(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
