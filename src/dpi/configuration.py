"""What the configuration files may compute, and how the entry points report mistakes."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from dpi.errors import UserError
from dpi.identity import flat, variant


def register_resolvers() -> None:
    """Make the resolvers that the files in configs/ use known to them.

    ${stem:path}            the last part of a path, without its suffix
    ${name_of:group}        the option chosen for a group, e.g. `drunet` for arch
    ${variant:tag}          the settings that are not the defaults, and the tag; see dpi.identity
    ${dashed:word}          -word, or nothing when the word is null
    ${cuda:a,b}             a where there is a CUDA device, else b
    ${without_wandb_key:}   whether Weights & Biases would have to ask for a key
    """
    OmegaConf.register_new_resolver(
        "name_of", lambda group: HydraConfig.get().runtime.choices[group], replace=True
    )
    OmegaConf.register_new_resolver("variant", variant, replace=True)
    OmegaConf.register_new_resolver("dashed", lambda word: f"-{word}" if word else "", replace=True)
    OmegaConf.register_new_resolver("stem", lambda path: Path(path).stem, replace=True)
    OmegaConf.register_new_resolver("cuda", _cuda, replace=True)
    OmegaConf.register_new_resolver("without_wandb_key", _without_wandb_key, replace=True)


def _cuda(yes: str, no: str) -> str:
    import torch  # takes seconds, and a report needs none of it

    return yes if torch.cuda.is_available() else no


def _without_wandb_key() -> bool:
    netrc = Path.home() / ".netrc"
    return not (
        os.environ.get("WANDB_API_KEY") or (netrc.exists() and "wandb" in netrc.read_text())
    )


def check(cfg: DictConfig, ranges: dict[str, tuple[type, float, float]]) -> None:
    """Raise UserError where a value is missing, or a number not of its type or in its range.

    Args:
        cfg: a configuration.
        ranges: for each key, dotted, its type (int or float), its least and its largest value.
    """
    for key, value in flat(OmegaConf.to_container(cfg)).items():
        if value == MISSING:
            raise UserError(f"{key} is missing: give {key}=...")
    for key, (kind, least, most) in ranges.items():
        value = OmegaConf.select(cfg, key)
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        if not number or not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise UserError(f"{key}={value}: give {what} from {least:g} to {most:g}")


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what the user can put right into one line on stderr and exit status 1."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        sys.exit(f"error: {error.filename or 'a file'} could not be written: {error.strerror}")
