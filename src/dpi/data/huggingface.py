"""Data sets of the Hugging Face Hub, or on disk, through the package `datasets`."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dpi.data.prepare import decoding, open_image, prepare
from dpi.errors import UserError


class HuggingFace:
    """The images in one column of a data set of `datasets`, prepared as those of `Folder`.

    Args:
        path: USER/NAME on the Hub, a folder of images or of other files that `load_dataset` knows,
            or one that `save_to_disk` wrote.
        image_size: height and width of the returned images, in pixels.
        split: such as train; not of what `save_to_disk` wrote, also train[:10%].
        column: of the feature `datasets.Image`.
        image_channels: of the returned images: 1 (L), 2 (LA), 3 (RGB) or 4 (RGBA).
        convert: whether images of other modes are converted, see `dpi.data.prepare.to_mode`.
        subset, revision: `name` and `revision` of `load_dataset`.

    Raises:
        UserError: the package is not installed, or there is no such data set, split or column.
    """

    def __init__(
        self,
        path: str,
        image_size: int,
        split: str = "train",
        column: str = "image",
        image_channels: int = 3,
        convert: bool = False,
        subset: str | None = None,
        revision: str | None = None,
    ) -> None:
        try:
            import datasets
        except ImportError:
            raise UserError(
                "data=huggingface needs the package datasets: pip install -e '.[data]'"
            ) from None
        self.path, self.column = path, column
        self.image_size, self.image_channels, self.convert = image_size, image_channels, convert
        try:
            found = _load(path, split, subset, revision)
        except Exception as error:  # of any type, for a path or arguments that it does not take
            raise UserError(f"data.path={path}: {' '.join(str(error).split())}") from None
        if not isinstance(found, datasets.Dataset):
            raise UserError(f"data.path={path}: it is a {type(found).__name__}, not a Dataset")
        images = [name for name, kind in found.features.items() if isinstance(kind, datasets.Image)]
        if column not in images:
            raise UserError(
                f"data.column={column}: the columns of images are {', '.join(images) or 'none'}"
            )
        self._files = found.select_columns(column).cast_column(column, datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of image_size, image_channels and convert, and of each encoded image in order.

        All of them are read each time, also those in files of their own.
        """
        how = ("datasets", self.image_size, self.image_channels, self.convert)
        digest = hashlib.sha256(repr(how).encode())
        for batch in self._files.iter(batch_size=256):
            for item in batch[self.column]:
                content = b"" if item is None else _content(item)
                digest.update(f"{len(content)} ".encode())
                digest.update(content)
        return digest.hexdigest()

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i, shape (image_channels, image_size, image_size), uint8.

        Raises:
            UserError: it is missing or corrupt, of another mode, or smaller than image_size.
        """
        where = f"image {i} of {self.path}"
        with decoding(where):
            item = self._files[i][self.column]
            if item is None:
                raise TypeError(f"its {self.column} is null")
            image = open_image(_content(item))
        return prepare(image, where, self.image_size, self.image_channels, self.convert)


def _load(path: str, split: str, subset: str | None, revision: str | None) -> Any:
    import datasets

    folder = Path(path)
    if not any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        # A bare name could be that of a reader of pickles, which can hold code.
        if not folder.is_dir() and path.count("/") != 1:
            raise ValueError("it is neither a folder nor USER/NAME")
        where = str(folder.absolute()) if folder.is_dir() else path
        return datasets.load_dataset(where, subset, split=split, revision=revision)
    if subset or revision:
        raise ValueError("a data set on disk has no data.subset and no data.revision")
    found = datasets.load_from_disk(folder)
    if isinstance(found, datasets.Dataset):
        found = {str(found.split or "train"): found}  # saved alone, it may have no name
    if split not in found:
        raise ValueError(f"data.split={split} is none of {', '.join(found)}")
    return found[split]


def _content(item: dict[str, Any]) -> bytes:
    import fsspec

    if item["bytes"] is not None:
        return item["bytes"]
    path = item["path"]
    try:
        with fsspec.open(path) as file:  # it may be in an archive: zip://NAME::ARCHIVE
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
