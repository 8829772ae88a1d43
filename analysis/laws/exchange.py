"""The exchange rate without a law: how far apart, in parameters, the losses at R and at a larger R lie horizontally."""

import itertools

import numpy as np
from scipy import stats

from analysis.regression import LEVEL

DRAWS = 400
FEWEST_DISTANCES = 3


def model_free_rate(
    log_size: np.ndarray, log_recursion: np.ndarray, log_loss: np.ndarray, error: np.ndarray, freedom: int
) -> tuple[float, float, float] | None:
    """Factor in parameters that one doubling of recursion is worth, read off between the widths that were run.

    For each width at the larger R: the size that would have the same loss at the smaller R, by interpolation between its
    neighbours there; where the loss lies outside of what they span there is no distance. Mean of log factors a doubling.

    Args:
        log_size, log_recursion, log_loss: [G], of cells.
        error: [G], standard errors of `log_loss`; `freedom` of their pooled variance.

    Returns:
        Estimate, low and high (cell means drawn anew, Student's t for the noise); None with fewer than three distances.
    """
    found = _mean_distance(log_size, log_recursion, log_loss)
    if found is None or not freedom:
        return None
    rng = np.random.default_rng(0)
    drawn = [
        _mean_distance(log_size, log_recursion, log_loss + error * stats.t.rvs(freedom, size=len(error), random_state=rng))
        for _ in range(DRAWS)
    ]
    known = np.array([value for value in drawn if value is not None])
    if len(known) < DRAWS / 2:
        return None
    half = float(known.std(ddof=1) * stats.norm.ppf(0.5 + LEVEL / 2))
    return 2**found, 2 ** (found - half), 2 ** (found + half)


def _mean_distance(log_size: np.ndarray, log_recursion: np.ndarray, log_loss: np.ndarray) -> float | None:
    """Mean of log2 factors a doubling."""
    distances = []
    levels = np.unique(log_recursion)
    for near, far in itertools.pairwise(levels):
        at, beyond = log_recursion == near, log_recursion == far
        order = np.argsort(log_size[at])
        sizes, losses = log_size[at][order], log_loss[at][order]
        doublings = (far - near) / np.log(2)
        for size, loss in zip(log_size[beyond], log_loss[beyond], strict=True):
            same = _size_at(sizes, losses, loss)
            if same is not None:
                distances.append((same - size) / np.log(2) / doublings)
    return float(np.mean(distances)) if len(distances) >= FEWEST_DISTANCES else None


def _size_at(sizes: np.ndarray, losses: np.ndarray, loss: float) -> float | None:
    """The size between two neighbours whose losses enclose this one; the smallest if there are several."""
    for left, right in itertools.pairwise(range(len(sizes))):
        low, high = sorted((losses[left], losses[right]))
        if low <= loss <= high and low < high:
            share = (loss - losses[left]) / (losses[right] - losses[left])
            return float(sizes[left] + share * (sizes[right] - sizes[left]))
    return None
