"""From a configuration to the source of images that it names."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from dpi.data import Source, check_source, read_duplicates, split
from dpi.errors import UserError
from dpi.protocol import check_importable


def open_source(cfg: DictConfig) -> Source:
    """Open the source of images that a configuration names.

    Args:
        cfg: with data.source, image_size and image_channels.

    Raises:
        UserError: the images are missing or cannot be used, the source's settings are not its
            arguments, or it is not a `Source`.
    """
    check_importable(cfg.data.source._target_)
    make = instantiate(cfg.data.source, _partial_=True)
    try:
        source = make()
    except TypeError as error:
        raise UserError(f"data.source={cfg.data.source._target_}: {error}") from error
    check_source(source, cfg.image_size, cfg.image_channels)
    return source


class Images:
    """The images of a run, and how they are split.

    Args:
        cfg: with the section `data`, image_size and image_channels.

    Raises:
        UserError: as `open_source`, `read_duplicates` and `split`, which refuses too few images.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.source = open_source(cfg)
        duplicates = read_duplicates(cfg.data.get("duplicates"), self.source)
        size, held_out, seed = len(self.source), cfg.data.held_out, cfg.data.split_seed
        self.split = split(size, held_out, seed, duplicates)
