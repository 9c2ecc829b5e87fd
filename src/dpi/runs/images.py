"""From a configuration to the source of images that it names."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from dpi.data import Source, check_source
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
