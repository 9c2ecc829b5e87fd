"""Table 3: FID, sFID, precision and recall, of a run's samples or of a file of images."""

import sys
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from dpi.data import read_npz
from dpi.errors import UserError
from dpi.evaluation.features import Chunks, Extractor, Features, extract, warn_of_few
from dpi.evaluation.frechet import frechet_distance, statistics
from dpi.evaluation.neighbours import precision_recall
from dpi.evaluation.reference import (
    Reference,
    content,
    read_images,
    read_reference,
    training_reference,
)
from dpi.evaluation.samples import draw_shards, sample_settings
from dpi.runs.rows import Row
from dpi.runs.run import Run


def check_fidelity(settings: DictConfig) -> None:
    """Raise UserError where `fidelity` would, once hours of training have passed: an unknown
    feature network, weights that are missing or cannot be downloaded, a reference that is none.
    """
    Extractor(settings.extractor, settings.weights)
    if settings.reference is not None:
        read_npz(Path(settings.reference), ["mu"])


def fidelity(
    run: Run | None,
    fabric: Fabric,
    folder: Path | None,
    samples: str | None,
    n: int,
    seed: int,
    steps: int,
    solver: str | None,
    reference: str | None,
    extractor: str,
    weights: str | None,
    cache: str,
    batch_size: int,
) -> list[Row]:
    """Compare samples with real images.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        samples: an .npz of images to compare in place of the run's samples.
        n, seed, steps, solver: of the samples that are drawn; sample i is the sample i that
            sample.py draws from this seed.
        reference: an .npz, see `read_reference`; None for the run's training images.
        extractor, weights: the feature network, see `Extractor`.
        cache: a folder for features and reference statistics, found again by content.
        batch_size: images at once; does not change the result but for rounding.

    Returns:
        Rows fid, sfid, precision, recall, kid and inception_score, as far as the feature network
        and the reference provide for them.

    Raises:
        UserError: see `Extractor`, `read_reference`, `draw_shards`.
    """
    if run is None and reference is None:
        raise UserError(
            "eval.fidelity.reference= is missing: give an .npz of real images or their statistics"
        )
    network = Extractor(extractor, weights, fabric.device)
    how = (network, Path(cache), batch_size, fabric)
    given = None if samples is None else read_images(Path(samples))
    size = (run.cfg.image_size,) * 2 if given is None else given.shape[1:3]
    # The reference first: mistakes show before hours of sampling.
    path = training_reference(run, *how) if reference is None else Path(reference)
    real = read_reference(path, size, *how)
    settings = {"extractor": network.name, "extractor_weights": network.weights}
    settings |= {"reference": path.name, "reference_content": content(real.pool[0])}
    if given is not None:
        fakes = Chunks(given)
        settings |= {"samples": Path(samples).name, "n": len(given)}
    else:
        settings |= sample_settings(run, fabric, n, seed, steps, solver)
        fakes = draw_shards(run, fabric, folder, n, seed, steps, solver, batch_size)
    features = extract(fakes, *how)
    if not fabric.is_global_zero:
        return []
    warn_of_few(len(features.pool), network, "FID")
    return [
        Row(metric, value, error, settings=settings)
        for metric, (value, error) in _metrics(features, real, fabric.device).items()
    ]


def _metrics(
    fake: Features, real: Reference, device: torch.device
) -> dict[str, tuple[float, float | None]]:
    print("Frechet distances, neighbours ...", file=sys.stderr)
    values = {"fid": (frechet_distance(*statistics(fake.pool), *real.pool), None)}
    if real.spatial is not None:
        values["sfid"] = (frechet_distance(*statistics(fake.spatial), *real.spatial), None)
    if real.features is not None:
        ours, theirs = torch.from_numpy(fake.pool), torch.from_numpy(real.features)
        if min(len(ours), len(theirs)) > 3:
            p, r = precision_recall(theirs.to(device), ours.to(device), progress=True)
            values |= {"precision": (p, None), "recall": (r, None)}
        subset = min(1000, len(ours), len(theirs))
        kid = kid_features_to_metric(ours, theirs, kid_subset_size=subset, verbose=False)
        values["kid"] = (kid["kernel_inception_distance_mean"], None)
    if fake.logits is not None:
        splits = min(10, len(fake.logits))
        score = isc_features_to_metric(torch.from_numpy(fake.logits), splits)
        error = score["inception_score_std"] / np.sqrt(splits)
        values["inception_score"] = (score["inception_score_mean"], float(error))
    return values
