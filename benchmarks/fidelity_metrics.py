"""Time and memory of the Frechet distance, precision and recall at full size.

    python benchmarks/fidelity_metrics.py

50,000 samples against 10,000 images; random features stand in for Inception's. That the metrics are
right is tested in tests/evaluation.
"""

import resource
import time

import numpy as np
import torch

from dpi.evaluation import frechet_distance, precision_recall
from dpi.evaluation.frechet import statistics


def features(seed: int, count: int) -> np.ndarray:
    """Positive and of many scales, as pooled features are."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.standard_normal((count, 2048), np.float32))
    return x * rng.gamma(1.0, 0.4, 2048).astype(np.float32)


def main() -> None:
    real, fake = features(0, 10_000), features(1, 50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [time.perf_counter()]
    precision_recall(torch.from_numpy(real), torch.from_numpy(fake))
    times.append(time.perf_counter())
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    frechet_distance(*statistics(real), *statistics(fake))
    times.append(time.perf_counter())
    neighbours, frechet = np.diff(times)
    print(f"precision and recall: {neighbours:.0f} s, {more:.0f} MiB beyond the features")
    print(f"Frechet distance: {frechet:.0f} s, on {torch.get_num_threads()} CPU thread(s)")


if __name__ == "__main__":
    main()
