"""From a configuration to the source of images that it names."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from dpi.data import Source, check_source, read_duplicates, split
from dpi.data.split import Split
from dpi.errors import UserError
from dpi.protocol import importable


def open_source(cfg: DictConfig) -> Source:
    """Open the source of images that a configuration names.

    Args:
        cfg: with data.source, image_size and image_channels.

    Raises:
        UserError: the images are missing or cannot be used, the source's settings are not its
            arguments, or it is not a `Source`.
    """
    with importable():
        make = instantiate(cfg.data.source, _partial_=True)
    try:
        source = make()
    except TypeError as error:
        raise UserError(f"data.source={cfg.data.source._target_}: {error}") from error
    check_source(source, cfg.image_size, cfg.image_channels)
    return source


def open_images(cfg: DictConfig) -> tuple[Source, Split]:
    """Open the source of images that a configuration names, and split it.

    Args:
        cfg: with the section `data`, image_size and image_channels.

    Raises:
        UserError: as `open_source`, `read_duplicates` and `split`, which refuses too few images.
    """
    source = open_source(cfg)
    duplicates = read_duplicates(cfg.data.get("duplicates"), source)
    return source, split(len(source), cfg.data.held_out, cfg.data.split_seed, duplicates)
