"""Sample quality without a download: in pixels, and in the features of a random network."""

from pathlib import Path

import torch
from lightning.fabric import Fabric

from dpi.evaluation.features import extract, warn_of_few
from dpi.evaluation.frechet import frechet_distance, statistics
from dpi.evaluation.neighbours import density_coverage
from dpi.evaluation.reference import content, read_reference, training_reference
from dpi.evaluation.samples import draw_shards, sample_settings
from dpi.evaluation.simple_features import Pixels, RandomNetwork
from dpi.runs.build import image_shape
from dpi.runs.rows import Row
from dpi.runs.run import Run

NEIGHBOUR = 5
"""Whose distance is a ball's radius, as Naeem et al. (2020) recommend."""


def pixels(
    run: Run,
    fabric: Fabric,
    folder: Path,
    n: int,
    seed: int,
    steps: int,
    solver: str | None,
    cache: str,
    batch_size: int,
) -> list[Row]:
    """Compare a run's samples with its training images.

    Comparable between runs on the same images; unlike FID, not with other work.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        n, seed, steps, solver: see `draw_shards`; the same samples as those of `fidelity`.
        cache: a folder for features and reference statistics, found again by content.
        batch_size: images at once; does not change the result but for rounding.

    Returns:
        Rows fd_pixels, density_pixels and coverage_pixels (see `Pixels`), fd_random, density_random
        and coverage_random (see `RandomNetwork`); density and coverage of more than five samples.

    Raises:
        UserError: see `draw_shards`; the run's images have changed.
    """
    channels, *size = image_shape(run.cfg)
    samples = draw_shards(run, fabric, folder, n, seed, steps, solver, batch_size)
    rows = []
    for network in (Pixels(size[0], channels), RandomNetwork(fabric.device, channels)):
        how = (network, Path(cache), batch_size, fabric)
        path = training_reference(run, *how)
        real = read_reference(path, size, *how)
        fake = extract(samples, *how).pool
        if not fabric.is_global_zero:
            continue
        warn_of_few(n, network, f"fd_{network.name}")
        found = {"fd": frechet_distance(*statistics(fake), *real.pool)}
        if min(n, len(real.features)) > NEIGHBOUR:
            theirs = torch.from_numpy(real.features).to(fabric.device)
            found["density"], found["coverage"] = density_coverage(theirs, fake, NEIGHBOUR, True)
        settings = {"reference": path.name, "reference_content": content(real.pool[0])}
        settings |= {"extractor": network.name, "extractor_weights": network.weights}
        settings |= sample_settings(run, fabric, n, seed, steps, solver)
        rows += [Row(f"{k}_{network.name}", v, settings=settings) for k, v in found.items()]
    return rows
