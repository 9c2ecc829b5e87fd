"""The mean over the schedule from the errors at some of its scalars."""

from collections.abc import Sequence

import numpy as np


def nodes(count: int, num_scalars: int) -> list[int]:
    """Steps at which errors are evaluated, in place of all S.

    They are equally spaced in theta = arccos(1 - 2 s / (S - 1)), so they are dense at both ends of
    the schedule, where the error changes fastest. The ends and the thirds (of 1,000: 0, 333, 666
    and 999, those of Table 2) are among them.

    Args:
        count: how many, at least 4; a few less where several round to the same step.
        num_scalars: S.

    Returns:
        Increasing steps in 0 ... S-1; all of them if count is not below S.
    """
    if count >= num_scalars:
        return list(range(num_scalars))
    last = num_scalars - 1
    steps = sorted(
        {round(last * (1 - np.cos(theta)) / 2) for theta in np.linspace(0, np.pi, count)}
    )
    thirds = {round(last / 3), round(2 * last / 3)}
    for third in thirds - set(steps):
        nearest = min(set(steps[1:-1]) - thirds, key=lambda s: abs(s - third))
        steps[steps.index(nearest)] = third
    return sorted(steps)


def weights(steps: Sequence[int], num_scalars: int) -> np.ndarray:
    """The weight of each step's error in the mean over all S steps.

    Between the given steps the error is interpolated linearly in theta. With equal weights the
    ends would count too much: at t = 0 the error is many times the mean.

    Args:
        steps: increasing, both ends of the schedule included.
        num_scalars: S, at least 2.

    Returns:
        (len(steps),), float64, positive, of sum 1; 1 / S each if these are all steps.
    """

    def theta(steps: Sequence[int]) -> np.ndarray:
        return np.arccos(1 - 2 * np.asarray(steps) / (num_scalars - 1))

    everywhere, known = theta(range(num_scalars)), theta(steps)
    return np.stack([np.interp(everywhere, known, e) for e in np.eye(len(steps))]).mean(axis=1)
