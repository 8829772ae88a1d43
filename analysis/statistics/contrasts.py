"""Differences between cells. Seeds are replicates, and blocks where two cells have seeds in common."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.statistics.interval import Interval
from sweeps.design.thresholds import LEVEL, MIN_SEEDS

SEED = "seed"


@dataclass(frozen=True)
class Change:
    """An estimated difference, with the variance and the degrees of freedom of each of its independent parts."""

    estimate: float
    variances: tuple[float, ...]
    freedoms: tuple[float, ...]
    is_blocked: bool = False  # True if every pair of cells was compared within seeds

    @property
    def variance(self) -> float:
        """Squared standard error of the estimate."""
        return sum(self.variances)

    @property
    def freedom(self) -> float:
        """Satterthwaite's (1946) degrees of freedom of the variance; NaN if the variance is 0."""
        denominator = sum(variance**2 / freedom for variance, freedom in zip(self.variances, self.freedoms, strict=True))
        return self.variance**2 / denominator if denominator else math.nan

    @property
    def interval(self) -> Interval:
        """Student's t interval of the estimate; infinite if no score in the table varies over seeds."""
        error = math.sqrt(self.variance)
        if error == 0:
            return Interval(self.estimate, -math.inf, math.inf, p=1.0)
        half = error * float(stats.t.ppf(0.5 + LEVEL / 2, self.freedom))
        p = float(2 * stats.t.sf(abs(self.estimate) / error, self.freedom))
        return Interval(self.estimate, self.estimate - half, self.estimate + half, p)


@dataclass(frozen=True)
class Noise:
    """Variance of a score over seeds, pooled over the cells of a table."""

    variance: float
    freedom: int


@dataclass(frozen=True)
class Pair:
    """The scores of two cells, as `scores_by_seed` returns them."""

    base: pd.Series
    other: pd.Series

    @property
    def differences(self) -> pd.Series:
        """Other minus base within each common seed; empty if seeds are unknown or repeated."""
        if not self.base.index.name == self.other.index.name == SEED:
            return pd.Series(dtype=float)
        return (self.other - self.base).dropna()

    @property
    def has_replicates(self) -> bool:
        """Whether each cell has enough seeds for an estimate of its noise."""
        return min(len(self.base), len(self.other)) >= MIN_SEEDS

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the differences within seeds; 0 if the seed cannot be a block.

        The seed cannot be a block if all differences are equal, as happens with few test items: the interval would have no width.
        """
        differences = self.differences
        return len(differences) - 1 if differences.nunique() > 1 else 0

    def change(self, noise: Noise, *, is_blocked: bool) -> Change:
        """The change of the mean score from `base` to `other`.

        Args:
            noise: pooled noise, used if neither cell varies over its seeds (few test items are solved, for example).
            is_blocked: True gives the mean of the differences within seeds, False the difference of two independent means (Welch).
        """
        if is_blocked:
            differences = self.differences
            return Change(float(differences.mean()), (float(differences.var()) / len(differences),), (self.freedom,), True)
        sides = (self.base, self.other)
        estimate = float(self.other.mean() - self.base.mean())
        variances = tuple(float(side.var()) / len(side) for side in sides)
        if any(variances) or noise.freedom == 0:
            return Change(estimate, variances, tuple(len(side) - 1 for side in sides))
        return Change(estimate, (sum(noise.variance / len(side) for side in sides),), (noise.freedom,))


def scores_by_seed(trials: pd.DataFrame, response: str) -> pd.Series:
    """The scores of one cell. The index is named `seed` if every seed is known and occurs once; otherwise it counts rows."""
    is_known = SEED in trials and trials[SEED].notna().all() and trials[SEED].is_unique
    index = pd.Index(trials[SEED], name=SEED) if is_known else pd.RangeIndex(len(trials))
    return pd.Series(trials[response].to_numpy(dtype=float), index=index)


def pool_noise(cells: Iterable[pd.Series]) -> Noise:
    """The noise of a score over seeds, pooled over the cells that have enough seeds."""
    replicated = [scores for scores in cells if len(scores) >= MIN_SEEDS]
    freedom = sum(len(scores) - 1 for scores in replicated)
    squares = sum(float(scores.var()) * (len(scores) - 1) for scores in replicated)
    return Noise(squares / freedom if freedom else 0.0, freedom)


def average_scores(cells: Sequence[pd.Series]) -> pd.Series:
    """The mean over cells of the score of each common seed, as a series like that of `scores_by_seed`."""
    if len(cells) == 1:
        return cells[0]
    name = SEED if all(scores.index.name == SEED for scores in cells) else None
    return pd.concat([scores.rename_axis(name) for scores in cells], axis=1).dropna().mean(axis=1).rename_axis(name)


def average_change(pairs: Sequence[Pair], noise: Noise) -> Change | None:
    """The mean change over pairs of cells; None if no pair has replicates. No cell occurs in two pairs.

    The seed is a block in every pair that has common seeds. An exception is a single pair with two common seeds: one degree of
    freedom makes the interval too wide to use, so that its cells count as independent samples.
    """
    usable = [pair for pair in pairs if pair.has_replicates]
    if not usable:
        return None
    may_block = sum(pair.freedom for pair in usable) > 1
    changes = [pair.change(noise, is_blocked=may_block and pair.freedom > 0) for pair in usable]
    count = len(changes)
    return Change(
        sum(change.estimate for change in changes) / count,
        tuple(variance / count**2 for change in changes for variance in change.variances),
        tuple(freedom for change in changes for freedom in change.freedoms),
        all(change.is_blocked for change in changes),
    )


def equality_p(changes: Sequence[Change]) -> float:
    """The p value against the equality of two or more independent changes (Welch's analysis of variance, 1951).

    If one change has no variance, all changes get the mean variance.
    """
    estimates = np.array([change.estimate for change in changes])
    variances = np.array([change.variance for change in changes])
    freedoms = np.array([change.freedom for change in changes])
    if not variances.any():
        return 1.0
    if not variances.all():
        pooled = Change(0.0, tuple(variances), tuple(np.nan_to_num(freedoms, nan=1.0)))
        variances, freedoms = np.full(len(changes), variances.mean()), np.full(len(changes), pooled.freedom)
    weights, count = 1 / variances, len(changes)
    shares = weights / weights.sum()
    spread = float(((1 - shares) ** 2 / freedoms).sum())
    between = float(weights @ (estimates - shares @ estimates) ** 2) / (count - 1)
    return float(stats.f.sf(between / (1 + 2 * (count - 2) / (count**2 - 1) * spread), count - 1, (count**2 - 1) / (3 * spread)))
