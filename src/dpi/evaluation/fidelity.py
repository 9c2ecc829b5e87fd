"""Table 3: FID, sFID, precision and recall, of a run's samples or of a file of pictures."""

import sys
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from dpi.errors import UserError
from dpi.evaluation.features import Chunks, Extractor, Features, extract
from dpi.evaluation.frechet import frechet_distance, statistics
from dpi.evaluation.neighbours import precision_recall
from dpi.evaluation.pictures import pictures_of
from dpi.evaluation.reference import (
    Reference,
    content,
    read_pictures,
    read_reference,
    write_reference,
)
from dpi.evaluation.rows import Row
from dpi.evaluation.samples import draw_shards, samples_folder
from dpi.runs import Run
from dpi.sampling import network_evaluations

KEEP = 10_000
"""Real pictures that precision, recall and KID take."""


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
    """Compare pictures with real ones.

    Args:
        run, fabric, folder: of the evaluation; the samples are kept in the folder.
        samples: an .npz of pictures to compare in place of the run's.
        n, seed, steps, solver: of the samples that are drawn; sample i is the picture i that
            sample.py draws from this seed.
        reference: an .npz, see `read_reference`; None for the run's training pictures.
        extractor, weights: the feature network, see `Extractor`.
        cache: a folder for features and reference statistics, found again by content.
        batch_size: pictures at once; no part of the result.

    Returns:
        Rows fid, sfid, precision, recall, kid and inception_score, as far as the feature network
        and the reference go.

    Raises:
        UserError: see `Extractor`, `read_reference`; or a run without solver or steps like these.
    """
    network = Extractor(extractor, weights, fabric.device)
    how = (network, Path(cache), batch_size, fabric)
    given = None if samples is None else read_pictures(Path(samples))
    size = (run.cfg.image_size,) * 2 if given is None else given.shape[1:3]
    # What the samples are compared with comes first: mistakes show before hours of drawing.
    path = _reference_of(run, *how) if reference is None else Path(reference)
    real = read_reference(path, size, *how)
    settings = {"extractor": network.name, "extractor_weights": network.weights}
    settings |= {"reference": path.name, "reference_content": content(real.pool[0])}
    if given is not None:
        fakes = Chunks(given)
        settings |= {"samples": Path(samples).name, "n": len(given)}
    else:
        solver = solver or run.framework.solvers[0]
        settings |= {
            "n": n,
            "seed": seed,
            "solver": solver,
            "steps": steps,
            "network_evaluations": network_evaluations(run.framework, steps, solver),
            "precision": fabric._precision.precision,
        }
        place = samples_folder(folder, fabric, seed, steps, solver)
        fakes = draw_shards(run, fabric, place, n, seed, steps, solver, batch_size)
    features = extract(fakes, *how)
    if not fabric.is_global_zero:
        return []
    count = len(features.pool)
    if count <= network.size:
        print(
            f"warning: {count:,} samples are fewer than the {network.size + 1:,} that make a "
            f"covariance of {network.size:,} features regular: this FID is far above what more "
            "samples would give; compare it with none of another number of samples",
            file=sys.stderr,
        )
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


def _reference_of(
    run: Run | None, network: Extractor, cache: Path, batch_size: int, fabric: Fabric
) -> Path:
    """The file of statistics of a run's training pictures, written if it is not there."""
    if run is None:
        raise UserError("reference= is missing: give an .npz of real pictures or their statistics")
    pictures = pictures_of(run)
    key = content(pictures.fingerprint, pictures.train, network.name, network.weights, KEEP)
    path = cache / f"reference-{run.cfg.data.name}-{run.cfg.image_size}-{key}.npz"
    there = path.exists()
    fabric.barrier()
    if not there:
        real = pictures.all.transpose(0, 2, 3, 1)
        how = (network, cache, batch_size, fabric)
        write_reference(path, real, pictures.train, KEEP, *how)
    return path
