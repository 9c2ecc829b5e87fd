"""Make FFHQ-64 from what is published: 70,000 pictures of 64x64 in one zip.

    python scripts/prepare_ffhq.py thumbnails128x128        the 128x128 thumbnails
    python scripts/prepare_ffhq.py images1024x1024          the 1024-pixel pictures
    python scripts/prepare_ffhq.py ffhq-64x64.zip           EDM's zip

The source is a folder or a zip. Interrupted and run again, it goes on where it stopped.
"""

import argparse
import os
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from dpi.data import Folder
from dpi.errors import UserError

SIZE = 64


def prepare(source: Path, out: Path, count: int) -> None:
    """Shrink `count` pictures of the source to 64x64 and zip them, in the order of their names."""
    if out.exists():
        print(f"{out} is there already")
        return
    pictures = Folder(source, SIZE, missing="give the folder or the zip that FFHQ came in")
    if len(pictures) != count:
        raise UserError(
            f"{source} holds {len(pictures)} pictures, not {count}: is it complete? "
            f"If that is what you want, say --count {len(pictures)}"
        )
    # Pictures are shrunk into a folder first: a zip cannot be gone on with.
    done = out.with_name(f"{out.name}.partial")
    done.mkdir(parents=True, exist_ok=True)
    shrink = partial(shrink_one, pictures, done)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = list(tqdm(pool.map(shrink, range(count)), total=count, desc="Shrinking"))
    unfinished = done / "all.zip"
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for i, path in enumerate(tqdm(paths, desc="Zipping")):
            archive.write(path, f"{i // 1000:05d}/img{i:08d}.png")
    unfinished.replace(out)
    shutil.rmtree(done)
    print(
        f"{out}: {count} pictures of {SIZE}x{SIZE}; train.py trains on all but data.held_out=1000"
    )


def shrink_one(pictures: Folder, done: Path, i: int) -> Path:
    """Write picture i, unless an earlier start has."""
    path = done / f"img{i:08d}.png"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        Image.fromarray(pictures[i].transpose(1, 2, 0)).save(unfinished, format="png")
        unfinished.replace(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder or zip of FFHQ's pictures")
    parser.add_argument("--out", type=Path, default=Path("data/ffhq64.zip"))
    parser.add_argument("--count", type=int, default=70_000, help="pictures there must be")
    args = parser.parse_args()
    try:
        prepare(args.source, args.out, args.count)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {args.out} could not be made: {error}; what is done so far is kept")


if __name__ == "__main__":
    main()
