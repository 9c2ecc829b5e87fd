"""Table 3: how near a run's samples, or those of a file, are to real images."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import DictConfig
from pydantic import Field
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from dpi.errors import UserError
from dpi.evaluation.extractors import INCEPTION, check_channels, feature_network
from dpi.evaluation.features import Features, chunks, extract
from dpi.evaluation.frechet import frechet_distance
from dpi.evaluation.neighbours import density_coverage, precision_recall
from dpi.evaluation.reference import (
    Gaussian,
    gaussians,
    read_images,
    read_reference,
    training_images,
)
from dpi.evaluation.samples import draw_shards
from dpi.runs.build import image_shape
from dpi.runs.check import Count, Existing, Seed, SolverSteps
from dpi.runs.rows import Row
from dpi.runs.run import Run


def check_fidelity(settings: DictConfig, cfg: DictConfig) -> None:
    """Raise UserError where `fidelity` of a run would, once hours of training have passed: an
    unknown feature network, weights that are missing or cannot be downloaded, an .npz that is no
    reference or one for others, images of so many channels.
    """
    check_channels(settings.extractor, cfg.image_channels)
    network = feature_network(settings.extractor, settings.weights)
    if settings.reference is not None and settings.reference.endswith(".npz"):
        read_reference(Path(settings.reference), tuple(np.roll(image_shape(cfg), -1)), network)


def fidelity(
    run: Run | None,
    fabric: Fabric,
    folder: Path | None,
    samples: Existing | None,
    n: Annotated[int, Field(ge=2, lt=2**31)],
    seed: Seed,
    steps: SolverSteps,
    solver: str | None,
    reference: Existing | None,
    extractor: str,
    weights: Existing | None,
    cache: str,
    batch_size: Count,
) -> list[Row]:
    """Compare samples with real images by their features.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        samples: images to compare in place of the run's samples, see `read_images`.
        n, seed, steps, solver: of the samples that are drawn; sample i is the sample i that
            sample.py draws from this seed.
        reference: see `read_reference`; None for the run's training images.
        extractor, weights: the feature network, see `feature_network`.
        cache: a folder for features, found again by content.
        batch_size: images at once; does not change the result but for rounding.

    Returns:
        Rows fid, sfid, kid, precision, recall, density, coverage and inception_score, as far as the
        reference provides for them; with another network than Inception fd_NAME, kid_NAME and so
        on. Precision and recall are of the third nearest neighbour, density and coverage of the
        fifth, as their authors recommend, and of more images than that.

    Raises:
        UserError: see `feature_network`, `read_images`, `read_reference`, `draw_shards`.
    """
    if run is None and reference is None:
        raise UserError(
            "eval.fidelity.reference= is missing: give real images or an .npz of their statistics"
        )
    network = feature_network(extractor, weights, fabric.device)
    how = (network, Path(cache), batch_size, fabric)
    given = None if samples is None else read_images(Path(samples))
    shape = np.roll(image_shape(run.cfg), -1) if given is None else given.shape[1:]
    # The reference first: mistakes show before hours of sampling.
    if reference is None:
        real = training_images(run)
    else:
        real = read_reference(Path(reference), tuple(shape), network)
    theirs = extract(chunks(real.images, real.order), len(real.order), *how)
    if given is None:
        images, settings = draw_shards(run, fabric, folder, n, seed, steps, solver, batch_size)
    else:
        settings = {"samples": Path(samples).name, "n": len(given)}
        images = chunks(given, range(len(given)))
    ours = extract(images, settings["n"], *how)
    if not fabric.is_global_zero:
        return []
    print("Frechet distances, neighbours ...", file=sys.stderr)
    known = real.known or gaussians(theirs)
    content = sha256()
    # What is the same on every device: images, or the mean in a file.
    for chunk in [known["pool"][0]] if real.known else chunks(real.images, real.order):
        content.update(chunk.tobytes())
    settings |= {"extractor": network.name, "extractor_weights": network.weights}
    settings |= {"reference": real.name, "reference_content": content.hexdigest()[:12]}
    kept = torch.from_numpy(theirs["pool"][: real.keep]) if theirs else None
    return [
        Row(_named(metric, network.name), value, error, settings=settings)
        for metric, (value, error) in _metrics(ours, known, kept, fabric.device).items()
    ]


def _metrics(
    fake: Features, known: dict[str, Gaussian], real: torch.Tensor | None, device: torch.device
) -> dict[str, tuple[float, float | None]]:
    """Values and standard errors."""
    count, size = fake["pool"].shape
    if count <= size:
        print(
            f"warning: {count:,} samples are fewer than the {size + 1:,} for which a covariance of "
            f"{size:,} features is regular: this Frechet distance is far above that of more "
            "samples; compare it only with that of as many",
            file=sys.stderr,
        )
    ours = gaussians(fake)
    values = {"fd": frechet_distance(*ours["pool"], *known["pool"])}
    if {"spatial"} <= ours.keys() & known.keys():
        values["sfid"] = frechet_distance(*ours["spatial"], *known["spatial"])
    if real is not None:
        pool = torch.from_numpy(fake["pool"])
        fewest = min(len(pool), len(real))
        kid = kid_features_to_metric(pool, real, kid_subset_size=min(1000, fewest), verbose=False)
        values["kid"] = kid["kernel_inception_distance_mean"]
        both = real.to(device), pool.to(device)
        if fewest > 3:
            values["precision"], values["recall"] = precision_recall(*both, 3)
        if fewest > 5:
            values["density"], values["coverage"] = density_coverage(*both, 5)
    found = {metric: (value, None) for metric, value in values.items()}
    if "logits" in fake:
        splits = min(10, count)
        score = isc_features_to_metric(torch.from_numpy(fake["logits"]), splits)
        error = score["inception_score_std"] / splits**0.5
        found["inception_score"] = (score["inception_score_mean"], error)
    return found


def _named(metric: str, network: str) -> str:
    if network == INCEPTION:
        return "fid" if metric == "fd" else metric
    return f"{metric}_{network}"
