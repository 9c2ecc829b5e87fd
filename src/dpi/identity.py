"""What makes a run the run it is: its settings, and the part of its name that they give it."""

import re
from functools import lru_cache
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

SETTINGS = (
    "seed",
    "image_size",
    "framework",
    "arch",
    "cond",
    "training",
    "data.held_out",
    "data.split_seed",
    "data.random_flip",
    "trainer.accumulate_grad_batches",
)
"""The sections and keys that make a run what it is; the rest says how it is carried out."""

FREE = ("training.steps", "training.show", "cond.mode")
"""Of those, what may change when a run goes on: its length, what it shows, how DPI is run."""


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The values that two configurations of one run share, under their dotted keys."""
    values = flat(OmegaConf.to_container(cfg, resolve=True))
    return {k: v for k, v in values.items() if _under(k, SETTINGS) and not _under(k, FREE)}


def variant(tag: str | None, *, _root_: DictConfig) -> str:
    """The resolver ${variant:tag}: what tells this run's name from that of its plain kind.

    Each setting of the command line that makes another run, and is not the default, gives its
    key and value, such as `distinct_scalars_4`; the tag comes last. So no sweep over settings
    writes two runs into one folder.
    """
    hydra = HydraConfig.get()
    words = dict(word.lstrip("+~").partition("=")[::2] for word in hydra.overrides.task)
    groups = (f"{key}={option}" for key, option in words.items() if key in hydra.runtime.choices)
    plain = _composed(hydra.job.config_name, tuple(groups))
    parts = []
    for key in sorted(words.keys() - hydra.runtime.choices.keys()):
        names = _under(key, (*SETTINGS, "widths")) and not _under(key, (*FREE, "seed"))
        value = OmegaConf.select(_root_, key)
        if names and value != OmegaConf.select(plain, key):
            parts.append(f"{key.rpartition('.')[2]}_{_plain(str(value))}")
    return "-".join([*parts, *([tag] if tag else [])])


@lru_cache(maxsize=8)
def _composed(name: str, words: tuple[str, ...]) -> DictConfig:
    return compose(name, list(words))  # a third of a second; a run's name is asked for often


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """The values in nested dictionaries under their dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    dot = "." if prefix else ""
    return {k: v for name, n in node.items() for k, v in flat(n, f"{prefix}{dot}{name}").items()}


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_")


def _under(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
