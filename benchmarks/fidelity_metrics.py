"""Our Frechet distance, precision and recall against independent computations, and at full size.

    python benchmarks/fidelity_metrics.py

Random features stand in for Inception's. The Frechet distance is held against scipy's matrix
square root in float64, precision and recall against all distances at once in float64.
"""

import resource
import time

import numpy as np
import scipy.linalg
import torch

from dpi.evaluation import frechet_distance, precision_recall
from dpi.evaluation.frechet import statistics


def features(rng: np.random.Generator, count: int, size: int, shift: float = 0.0) -> np.ndarray:
    """Positive and of many scales, as pooled features are."""
    x = rng.standard_normal((count, size), np.float32)
    np.abs(x, out=x)
    x *= rng.gamma(1.0, 0.4, size).astype(np.float32)
    x += np.float32(shift)
    return x


def compare_frechet(samples: int) -> None:
    rng = np.random.default_rng(0)
    mu1, sigma1 = statistics(features(rng, samples, 2048))
    mu2, sigma2 = statistics(features(rng, samples, 2048, 0.05))
    start = time.perf_counter()
    ours = frechet_distance(mu1, sigma1, mu2, sigma2)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    root = scipy.linalg.sqrtm(sigma1 @ sigma2).real
    theirs = np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2 - 2 * root)
    print(
        f"| {samples:,} samples | {ours:.9f} | {theirs:.9f} | {abs(ours - theirs):.1e} "
        f"| {seconds:.1f} | {time.perf_counter() - start:.1f} |",
        flush=True,
    )


def brute_force(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = torch.from_numpy(a).double(), torch.from_numpy(b).double()
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").numpy()

    between = distances(real, fake)
    real_radii, fake_radii = (np.sort(distances(a, a), axis=1)[:, k] for a in (real, fake))
    precision = (between <= real_radii[:, None]).any(axis=0).mean()
    return precision, (between <= fake_radii[None]).any(axis=1).mean()


def compare_neighbours() -> None:
    largest = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        size = (2, 8, 64, 2048)[seed % 4]
        real, fake = features(rng, 1500, size), features(rng, 2500, size, 0.1)
        ours, theirs = precision_recall(real, fake), brute_force(real, fake)
        largest = max(largest, *np.abs(np.subtract(ours, theirs)))
    print(f"largest difference over 20 pairs of sets: {largest:.1e}", flush=True)


def time_neighbours(num_real: int, num_fake: int, size: int) -> str:
    rng = np.random.default_rng(0)
    real = torch.from_numpy(features(rng, num_real, size))
    fake = torch.from_numpy(features(rng, num_fake, size, 0.02))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    precision_recall(real, fake)
    seconds = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    held = (real.nbytes + fake.nbytes) / 2**20
    return (
        f"{num_fake:,} fakes, {num_real:,} real, {size:,} features: {seconds:.0f} s on "
        f"{torch.get_num_threads()} CPU thread(s), {more:.0f} MiB beyond the features' {held:.0f}"
    )


def main() -> None:
    at_full_size = time_neighbours(10_000, 50_000, 2048)  # first: peak memory only ever grows
    print("# The fidelity metrics against independent computations\n")
    print("`python benchmarks/fidelity_metrics.py`\n")
    print("## Frechet distance of 2,048 features\n")
    print("| | ours | scipy's sqrtm | difference | ours, s | scipy, s |\n|---|--:|--:|--:|--:|--:|")
    compare_frechet(10_000)
    compare_frechet(1_000)
    print("\n## Precision and recall\n\nAgainst all distances in float64, ", end="")
    compare_neighbours()
    print(f"\n{at_full_size}")


if __name__ == "__main__":
    main()
