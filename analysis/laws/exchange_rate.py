"""The exchange rate without a law: how far apart, in parameters, the losses at R and at a larger R lie horizontally."""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import PchipInterpolator

from analysis.statistics.interval import Interval
from sweeps.design.thresholds import LEVEL

DRAWS = 400  # noisy copies of the cell means
POINTS = 40  # sizes of a smoothed curve
MIN_DISTANCES = 3


class Levels(NamedTuple):
    """Two neighbouring levels of recursion, and how far apart their losses lie."""

    middle: float  # log R
    distances: np.ndarray  # [draws, widths at the larger R] log2 of the factor in parameters a doubling; NaN where there is none


def model_free_rate(
    log_size: np.ndarray, log_recursion: np.ndarray, log_loss: np.ndarray, error: np.ndarray, freedom: int
) -> tuple[Interval | None, pd.DataFrame]:
    """Factor in parameters that one doubling of recursion is worth, read off between the widths that were run.

    For each width at the larger R: the size that would have the same loss at the smaller R, on a monotone curve through
    the widths there; where the loss lies outside of what they span there is no distance. Mean of log factors a doubling.

    Args:
        log_size, log_recursion, log_loss: [G], of cells.
        error: [G], standard errors of `log_loss`; `freedom` of their pooled variance.

    Returns:
        The rate over all levels (cell means drawn anew, Student's t for the noise), None with fewer than three
        distances; and the same between each two neighbouring levels, as columns `recursion, estimate, low, high`.
    """
    columns = ["recursion", "estimate", "low", "high"]
    log_recursion = np.round(log_recursion, 9)  # means over seeds differ in the last bit
    if not freedom:
        return None, pd.DataFrame(columns=columns)
    noise = stats.t.rvs(freedom, size=(DRAWS, len(error)), random_state=np.random.default_rng(0))
    losses = np.vstack([log_loss, log_loss + error * noise])  # the first row is what was measured
    levels = _levels(log_size, log_recursion, losses)
    if not levels:
        return None, pd.DataFrame(columns=columns)
    overall = _interval(np.hstack([level.distances for level in levels]), MIN_DISTANCES)
    between = [(float(np.exp(level.middle)), _interval(level.distances, 1)) for level in levels]
    rows = [(recursion, *interval.numbers) for recursion, interval in between if interval is not None]
    return overall, pd.DataFrame(rows, columns=columns) if overall else pd.DataFrame(columns=columns)


def _interval(distances: np.ndarray, minimum: int) -> Interval | None:
    """Mean of the first row with the spread of the others, as factors; None where it, or most draws, have too few distances."""
    counts = np.isfinite(distances).sum(1)
    known = counts >= minimum
    if not known[0] or known[1:].mean() < 0.5:
        return None
    means = np.nansum(distances, axis=1) / np.maximum(counts, 1)
    half = float(means[1:][known[1:]].std(ddof=1) * stats.norm.ppf(0.5 + LEVEL / 2))
    return Interval(float(2 ** means[0]), float(2 ** (means[0] - half)), float(2 ** (means[0] + half)))


def _levels(log_size: np.ndarray, log_recursion: np.ndarray, losses: np.ndarray) -> list[Levels]:
    """Every pair of neighbouring levels of recursion with its distances, for losses [draws, G]."""
    found = []
    for near, far in itertools.pairwise(np.unique(log_recursion)):
        at, beyond = np.flatnonzero(log_recursion == near), np.flatnonzero(log_recursion == far)
        sizes, places = np.unique(log_size[at], return_inverse=True)
        means = np.stack([losses[:, at[places == place]].mean(axis=1) for place in range(len(sizes))], axis=1)
        same = _sizes_at(*_smoothed(sizes, means), losses[:, beyond])
        found.append(Levels((near + far) / 2, (same - log_size[beyond]) / (far - near)))  # the two log 2 cancel
    return found


def _smoothed(sizes: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A monotone curve through the losses (Fritsch and Carlson 1980) at many sizes: straight lines overstate one that flattens."""
    if len(sizes) < 3:
        return sizes, losses
    fine = np.linspace(sizes[0], sizes[-1], POINTS)
    return fine, PchipInterpolator(sizes, losses, axis=1)(fine)


def _sizes_at(sizes: np.ndarray, losses: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The size between two neighbours whose losses enclose the wanted one; the smallest if there are several, NaN if none.

    Args:
        sizes: [K] ascending; losses: [draws, K] there; wanted: [draws, M].
    """
    found = np.full(wanted.shape, np.nan)
    for left in reversed(range(len(sizes) - 1)):  # the smallest is written last
        first, second = losses[:, left, None], losses[:, left + 1, None]
        inside = (np.minimum(first, second) <= wanted) & (wanted <= np.maximum(first, second)) & (first != second)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = sizes[left] + (wanted - first) / (second - first) * (sizes[left + 1] - sizes[left])
        found = np.where(inside, size, found)
    return found
