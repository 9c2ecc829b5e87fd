"""DPI against every other row of Table 2 and against wider networks, seed by seed, with intervals:
`python scripts/pairs.py`, of the runs in outputs/ that results/reproduction/README.md names.
"""

from pathlib import Path
from statistics import fmean

from scipy.stats import ttest_rel

from dpi.reporting.collect import Run, collect
from dpi.reporting.words import conditioning, network

SCALARS = (0, 333, 666, 999, None)
"""Of Table 2's columns; None is the mean over the schedule."""


def by_seed(runs: list[Run], scalar: int | None) -> dict[int, float]:
    rows = {run.seed: run.rows.get(("mse", scalar)) for run in runs}
    return {seed: row["value"] for seed, row in rows.items() if row}


def compared(dpi: dict[int, float], other: dict[int, float]) -> str:
    """By how many per cent DPI differs, the 95 % interval; bold where it excludes zero."""
    seeds = sorted(dpi.keys() & other.keys())
    ours, theirs = [dpi[seed] for seed in seeds], [other[seed] for seed in seeds]
    interval = ttest_rel(ours, theirs).confidence_interval(0.95)
    low, high = (100 * end / fmean(theirs) for end in (interval.low, interval.high))
    text = f"{(low + high) / 2:+.2f} ± {(high - low) / 2:.2f}"
    return f"**{text}**" if low * high > 0 else text


def main() -> None:
    runs = [run for run in collect(Path("outputs"))[0] if run.kind[0] == "diffusion"]
    print("# DPI against each other row, per cent\n\n`python scripts/pairs.py`\n")
    print("| network | told by | settings | seeds | t = 0 | 333 | 666 | 999 | mean |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    for arch in ("drunet", "adm"):
        own = [run for run in runs if run.kind[1] == arch]
        dpi = [run for run in own if (run.kind[2], run.variant) == ("dpi", "")]
        others = {(run.kind[2], run.variant) for run in own if by_seed([run], 0)} - {("dpi", "")}
        for cond, variant in sorted(others):
            other = [run for run in own if (run.kind[2], run.variant) == (cond, variant)]
            cells = [compared(by_seed(dpi, s), by_seed(other, s)) for s in SCALARS]
            row = [network(arch), conditioning(cond), variant, str(len(other)), *cells]
            print(f"| {' | '.join(row)} |")
    print("\nSeeds in pairs, Student's t, 95 % intervals; bold: zero lies outside.")


if __name__ == "__main__":
    main()
