"""List the near-duplicates in a data set: images whose pixels differ little.

    python scripts/near_duplicates.py faces.zip faces_duplicates.txt
    python train.py data=folder data.path=faces.zip data.duplicates=faces_duplicates.txt

The source is a folder or a zip. Images that cannot be used are left out. Each line of the list is a
group: the names, separated by tabs, of images that are near-duplicates of each other, directly or
through others of the group.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dpi.atomic import atomic_write
from dpi.cli import one_line
from dpi.data import Folder, memory_map
from dpi.data.content import LOSSLESS
from dpi.errors import UserError
from dpi.progress import Progress
from dpi.runs.files import cache_dir

BLOCK = 2048
"""Images are compared in blocks of BLOCK x BLOCK."""


def near_duplicates(images: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Groups of images, each within the threshold of another of its group.

    Args:
        images: (N, 3, H, W) uint8.
        threshold: root mean square of the difference, in grey levels of 0 to 255.

    Returns:
        Increasing indices of each group of two or more, ordered by the first.
    """
    x = images.reshape(len(images), -1).astype(np.float32)
    x -= x.mean(axis=0)  # distances from differences of squares: the smaller, the less is lost
    squares = np.square(x).sum(axis=1)
    most = x.shape[1] * threshold**2
    firsts = range(0, len(x), BLOCK)
    blocks = [(i, j) for i in firsts for j in firsts if i <= j]
    pairs = []
    for i, j in Progress(blocks, desc="Comparing", unit="block"):
        a, b = slice(i, i + BLOCK), slice(j, j + BLOCK)
        distances = squares[a, None] + squares[b] - 2 * x[a] @ x[b].T
        rows, columns = np.nonzero(distances <= most)
        pairs.append((i + rows, j + columns))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(len(x), len(x)))
    _, labels = connected_components(graph, directed=False)
    groups = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    return sorted((group for group in groups if len(group) > 1), key=lambda group: group[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a folder or a zip of images")
    parser.add_argument("out", type=Path, help="the list to write")
    parser.add_argument("--image-size", type=int, default=16, help="at which they are compared")
    parser.add_argument(
        "--threshold", type=float, default=6.4, help="root mean square, in grey levels of 0 to 255"
    )
    parser.add_argument("--cache", type=Path, default=cache_dir())
    args = parser.parse_args()
    with one_line():
        if args.out.exists():
            raise UserError(f"{args.out} already exists: remove it, or name another file")
        source = Folder(
            *(args.source, args.image_size),
            convert=True,
            missing="give a folder or a zip of images",
            cache_dir=args.cache,
            skip_broken=True,
        )
        images = memory_map(source, args.cache, args.source.stem)
        groups = near_duplicates(images, args.threshold)
        lines = ["\t".join(source.names[i] for i in group) + "\n" for group in groups]
        atomic_write(args.out, "".join(lines).encode(*LOSSLESS))
        count = sum(map(len, groups))
        print(f"{args.out}: groups {len(groups):,}, images {count:,} of {len(source):,}")


if __name__ == "__main__":
    main()
