"""Images of a data set in a zip, to train on: of torchvision, or of the Hugging Face Hub.

    python scripts/zip_dataset.py CIFAR10 cifar10.zip         # pip install torchvision
    python scripts/zip_dataset.py USER/NAME images.zip        # pip install datasets
    python train.py data=folder data.path=cifar10.zip scale=small

Splits, columns and other options are those of `torchvision.datasets` and `datasets.load_dataset`:
change the line that calls them.
"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from tqdm import tqdm


def images(name: str) -> Iterator[Image.Image]:
    """The images of a class of torchvision.datasets, or of a data set on the Hub."""
    if "/" in name:
        from datasets import load_dataset

        for row in load_dataset(name, split="train"):
            yield row["image"]
    else:
        from torchvision import datasets

        for image, _ in getattr(datasets, name)(root="data", download=True):
            yield image


def write(pictures: Iterator[Image.Image], out: Path) -> None:
    """Write a zip of PNGs, which takes its name when it is complete."""
    partial = out.with_name(f"{out.name}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for i, picture in enumerate(tqdm(pictures, unit="image")):
            with archive.open(f"{i:08d}.png", "w") as file:
                picture.save(file, "PNG")
    partial.replace(out)


if __name__ == "__main__":
    write(images(sys.argv[1]), Path(sys.argv[2]))
