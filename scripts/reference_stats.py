"""Statistics of real images, for FID and related metrics, in guided-diffusion's layout.

    python scripts/reference_stats.py data/ffhq64.zip stats.npz --image-size 64 --held-out 1000
    python scripts/reference_stats.py images.npz stats.npz

The source is a folder or a zip of images, or an .npz with arr_0 (uint8, N x H x W x 3 or 1).
The same command resumes an interrupted run.
"""

import argparse
from pathlib import Path

import numpy as np
from lightning.fabric import Fabric

from dpi.cli import one_line
from dpi.data import Folder, memory_map, save_npz, split
from dpi.errors import UserError
from dpi.evaluation.extractors import feature_network
from dpi.evaluation.features import FeatureNetwork, chunks, extract
from dpi.evaluation.reference import ARRAYS, KEEP, gaussians, read_images
from dpi.runs.files import cache_dir


def images_of(
    source: Path,
    image_size: int | None,
    image_channels: int,
    convert: bool,
    skip_broken: bool,
    cache: Path,
) -> np.ndarray:
    """All images of a source: (N, H, W, C) uint8."""
    if source.suffix == ".npz":
        return read_images(source)
    if image_size is None:
        raise UserError(f"{source} holds images of any size: give --image-size")
    missing = "give a folder, a zip or an .npz of images"
    folder = Folder(source, image_size, image_channels, convert, missing, cache, skip_broken)
    return memory_map(folder, cache, source.stem).transpose(0, 2, 3, 1)


def write_reference(
    path: Path,
    images: np.ndarray,
    indices: np.ndarray,
    keep: int,
    network: FeatureNetwork,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> None:
    """Write the statistics of images, and some of the images, to an .npz:

    `mu`, `sigma` (of the pooled features), `mu_s`, `sigma_s` (of the spatial ones, Inception
    only), `arr_0` (images, uint8, N x H x W x C), and the `extractor` and its `weights`.

    Args:
        path: of the file.
        images: (N, H, W, C) uint8.
        indices: of those to take.
        keep: how many images to write, a random subset of them.
        network, cache, batch_size, fabric: see `extract`.
    """
    order = np.random.default_rng(0).permutation(indices)
    features = extract(chunks(images, order), len(order), network, cache, batch_size, fabric)
    arrays = {"arr_0": images[order[:keep]]}
    arrays |= {"extractor": np.array(network.name), "weights": np.array(network.weights)}
    for kind, pair in gaussians(features).items():
        arrays |= dict(zip(ARRAYS[kind], pair, strict=True))
    save_npz(path, arrays)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--image-size", type=int, help="of the images of a folder or zip")
    parser.add_argument("--image-channels", type=int, default=3, help="3 for RGB, 1 for greyscale")
    parser.add_argument(
        "--convert", action="store_true", help="images of other modes, as data.convert=true"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave images out, as data.skip_broken=true"
    )
    parser.add_argument(
        "--held-out", type=int, default=0, help="leave out as many as training holds out"
    )
    parser.add_argument("--split-seed", type=int, default=0, help="as in training")
    parser.add_argument("--count", type=int, help="take a random subset of this size; default: all")
    parser.add_argument(
        "--keep", type=int, default=KEEP, help="images kept for precision, recall and KID"
    )
    parser.add_argument("--extractor", default="inception", help="as eval.fidelity.extractor")
    parser.add_argument("--weights", help="a file of its weights; default: download them")
    parser.add_argument("--cache", type=Path, default=cache_dir())
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--accelerator", default="auto")
    args = parser.parse_args()
    with one_line():
        if args.out.exists():
            raise UserError(f"{args.out} already exists: remove it, or name another file")
        fabric = Fabric(accelerator=args.accelerator, devices=1)
        network = feature_network(args.extractor, args.weights, fabric.device)
        how = (args.image_size, args.image_channels, args.convert, args.skip_broken, args.cache)
        images = images_of(args.source, *how)
        indices = np.arange(len(images))
        if args.held_out:
            indices = split(len(images), args.held_out, args.split_seed).train
        if args.count is not None and not 2 <= args.count <= len(indices):
            raise UserError(f"--count {args.count}: there are {len(indices)} images")
        indices = np.random.default_rng(1).permutation(indices)[: args.count]
        how = (args.keep, network, args.cache, args.batch_size, fabric)
        write_reference(args.out, images, indices, *how)
        print(f"{args.out}: statistics of {len(indices):,} images by {network.name}")


if __name__ == "__main__":
    main()
