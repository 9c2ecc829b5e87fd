"""What the configuration files may compute, and how the entry points report mistakes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from dpi.errors import UserError


def register_resolvers() -> None:
    """Make the resolvers that the files in configs/ use known to them.

    ${stem:path}            the last part of a path, without its suffix
    ${name_of:group}        the option chosen for a group, e.g. `drunet` for arch
    ${dashed:word}          -word, or nothing when the word is null
    ${cuda:a,b}             a where there is a CUDA device, else b
    ${without_wandb_key:}   whether Weights & Biases would have to ask for a key
    """
    OmegaConf.register_new_resolver(
        "name_of", lambda group: HydraConfig.get().runtime.choices[group], replace=True
    )
    OmegaConf.register_new_resolver("dashed", lambda word: f"-{word}" if word else "", replace=True)
    OmegaConf.register_new_resolver("stem", lambda path: Path(path).stem, replace=True)
    OmegaConf.register_new_resolver(
        "cuda", lambda yes, no: yes if torch.cuda.is_available() else no, replace=True
    )
    OmegaConf.register_new_resolver("without_wandb_key", _without_wandb_key, replace=True)


def _without_wandb_key() -> bool:
    netrc = Path.home() / ".netrc"
    return not (
        os.environ.get("WANDB_API_KEY") or (netrc.exists() and "wandb" in netrc.read_text())
    )


@contextmanager
def one_line() -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and exit status 1."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
