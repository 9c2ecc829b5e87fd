"""Create FFHQ-64 from the published files: 70,000 images of 64x64 in one zip.

    python scripts/prepare_ffhq.py thumbnails128x128        the 128x128 thumbnails
    python scripts/prepare_ffhq.py images1024x1024          the 1024x1024 images
    python scripts/prepare_ffhq.py ffhq-64x64.zip           the zip of EDM

The source is a folder or a zip. If interrupted, run the same command again to resume.
"""

import argparse
import hashlib
import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from dpi.atomic import atomic
from dpi.cli import one_line
from dpi.data import Folder
from dpi.errors import UserError
from dpi.progress import Progress

SIZE = 64


def prepare(source: Path, out: Path, count: int) -> None:
    """Resize the images of the source to 64x64 and zip them, sorted by name.

    Args:
        source: a folder or a zip.
        out: the zip to write.
        count: the number of images that the source must have.

    Raises:
        UserError: the source has another number of images, or an image cannot be used.
    """
    if out.exists():
        print(f"{out} already exists")
        return
    images = Folder(source, SIZE, missing="give the folder or the zip of FFHQ")
    if len(images) != count:
        raise UserError(
            f"{source} contains {len(images)} images, not {count}; complete the download, or use "
            f"--count {len(images)}"
        )
    # A zip cannot be resumed, so the images are first written to a folder.
    of = hashlib.sha256(os.fsencode(source.absolute())).hexdigest()[:8]
    folder = out.with_name(f"{out.name}.{of}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(resize, images, folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = list(Progress(pool.map(write, range(count)), total=count, desc="Resizing"))
    unfinished = folder / "all.zip"
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for i, path in enumerate(Progress(paths, desc="Zipping")):
            archive.write(path, f"{i // 1000:05d}/img{i:08d}.png")
    unfinished.replace(out)
    shutil.rmtree(folder)
    print(f"{out}: {count} images of {SIZE}x{SIZE}; train.py trains on all but data.held_out=1000")


def resize(images: Folder, folder: Path, i: int) -> Path:
    """Write image i to the folder, unless an interrupted run already has."""
    path = folder / f"img{i:08d}.png"
    if not path.exists():
        with atomic(path) as file:
            Image.fromarray(images[i].transpose(1, 2, 0)).save(file, "PNG")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder or zip of FFHQ")
    parser.add_argument("--out", type=Path, default=Path("data/ffhq64.zip"), help="zip to write")
    parser.add_argument("--count", type=int, default=70_000, help="required number of images")
    args = parser.parse_args()
    with one_line():
        prepare(args.source, args.out, args.count)


if __name__ == "__main__":
    main()
