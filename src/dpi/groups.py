"""Config groups whose options are a few lines each, and combinations of conditionings."""

from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

CONFIGS = Path(__file__).parents[2] / "configs"

GLOBAL = ("experiment", "sweep")
"""Groups whose options set keys of the whole configuration, not of a section of the same name."""

COMBINED = ("dpi+film", "dpi+mlp", "dpi+tmap", "film+mlp", "film+tmap")
"""Conditionings of a network that has another one: options of cond, as dpi and film are."""


def register_groups() -> None:
    """Make the options in configs/groups.yaml, and COMBINED, known to Hydra."""
    groups = OmegaConf.to_container(OmegaConf.load(CONFIGS / "groups.yaml"))
    groups["cond"] = {name: combination(name) for name in COMBINED}
    for group, options in groups.items():
        package = "_global_" if group in GLOBAL else None
        for name, option in options.items():
            ConfigStore.instance().store(name, option, group, package, provider="groups.yaml")


def groups_of(name: str) -> list[str]:
    """The config groups of a configuration such as "train" that one chooses from."""
    defaults = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["defaults"]
    keys = (key for entry in defaults if isinstance(entry, dict) for key in entry)
    # What has a package follows from other choices, as the widths do.
    return [key for key in keys if "@" not in key and not key.startswith("override ")]


def combination(name: str) -> dict[str, Any]:
    """What would be in configs/cond/dpi+film.yaml; its options are cond.dpi.* and cond.film.*."""
    parts = name.split("+")
    return {
        "defaults": [f"{part}@{part}" for part in parts],
        "_target_": "dpi.conditioning.Compose",
        **{part: {"_partial_": True} for part in parts},
    }
