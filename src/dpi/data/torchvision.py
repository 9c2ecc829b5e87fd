"""The data sets of torchvision: CIFAR10, CelebA, ImageFolder and others."""

import inspect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpi.data.content import checksums, files_below, hash_lines
from dpi.data.prepare import FORMATS, decoding, prepare
from dpi.errors import UserError

PICKLES = ("LSUN", "LSUNClass")
"""What reads a pickle, which can hold code, without comparing its checksum."""


class TorchVision:
    """The images of one of `torchvision.datasets`, without their labels.

    They are as torchvision gives them (`ImageFolder` makes all of them RGB), then prepared as those
    of `Folder`.

    Args:
        dataset: the name of its class.
        path: `root`, a folder for this data set alone; it is downloaded if torchvision can do so.
        image_size: height and width of the returned images, in pixels.
        image_channels: of the returned images: 1 (L), 2 (LA), 3 (RGB) or 4 (RGBA).
        convert: whether images of other modes are converted, see `dpi.data.prepare.to_mode`.
        options: further arguments of the class, such as {"split": "train"}.
        cache_dir: where the fingerprint is kept; None to read all files each time.

    Raises:
        UserError: torchvision is not installed, has no such data set, or refuses the arguments.
    """

    def __init__(
        self,
        dataset: str,
        path: str | Path,
        image_size: int,
        image_channels: int = 3,
        convert: bool = False,
        options: Mapping[str, Any] | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        try:
            from torchvision import datasets
        except ImportError:
            raise UserError(
                "data=torchvision needs torchvision: pip install -e '.[data]'"
            ) from None
        self.dataset, self.path, self.options = dataset, Path(path), dict(options or {})
        self.cache_dir = cache_dir and Path(cache_dir)
        self.image_size, self.image_channels, self.convert = image_size, image_channels, convert
        kind = getattr(datasets, dataset, None)
        if dataset not in datasets.__all__ or not inspect.isclass(kind) or dataset in PICKLES:
            raise UserError(
                f"data.dataset={dataset}: torchvision.datasets has no such class of images"
            )
        own = {"root": str(path), "download": True, "loader": _load}
        known = inspect.signature(kind).parameters
        self._has_files = "root" in known
        arguments = {key: value for key, value in own.items() if key in known} | self.options
        try:
            self._images = kind(**arguments)
            self._count = len(self._images)
        except (OSError, RuntimeError, ValueError, TypeError, ImportError) as error:
            line = " ".join(str(error).split())
            raise UserError(f"data.dataset={dataset} in {path}: {line}") from None

    def __len__(self) -> int:
        return self._count

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the arguments and the number of images, and of the name and CRC-32 of each
        file below `path`, wherever it is and whatever its times; read once, see `checksums`."""
        how = (self.dataset, sorted(self.options.items()), self.image_channels, self.convert)
        names = files_below(self.path) if self._has_files else []
        sums = zip(names, checksums(self.path, names, self.cache_dir), strict=True)
        settings = repr((*how, self.image_size, self._count))
        return hash_lines(settings, (f"{name} {crc32}" for name, crc32 in sums))

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Raises:
            UserError: it is no image, of another mode, or smaller than image_size.
        """
        where = f"image {i} of {self.dataset}"
        with decoding(where):
            item = self._images[i]
            image = item[0] if isinstance(item, tuple) else item
            if not isinstance(image, Image.Image):
                raise TypeError(f"it is {type(image).__name__}")
        return prepare(image, where, self.image_size, self.image_channels, self.convert)


def _load(path: str) -> Image.Image:
    """What torchvision does where images are files, of these formats alone."""
    with Image.open(path, formats=FORMATS) as image:
        return image.convert("RGB")
