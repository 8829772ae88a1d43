"""Cells, intervals and effects. Seeds are replicates; the puzzles of one test split are not."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.design.thresholds import LEVEL

SOLVES = 0.5  # exact accuracy from which a seed counts as a success
DIVERGED = "diverged|nan|not finite"  # in the reason of a failed trial


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided 95 % interval."""

    estimate: float
    low: float
    high: float
    p: float = math.nan  # two-sided, of no difference

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Effect:
    """What going from one level of an axis to another does to a response, all else equal."""

    axis: str
    low_level: float
    high_level: float
    where: str  # which cells it was averaged over
    pairs: int  # of cells that differ in the axis alone
    change: Interval
    p_holm: float = math.nan  # of its family of comparisons

    @property
    def is_clear(self) -> bool:
        """Whether it holds among all that were asked with it."""
        return self.p_holm < 1 - LEVEL


def summarise_cells(trials: pd.DataFrame, by: Sequence[str], response: str) -> pd.DataFrame:
    """Mean and 95 % interval of a response in each cell, seeds as replicates.

    The standard deviation is pooled over cells (with 3 seeds a cell's own is worth little), the interval is Student's t
    on the pooled degrees of freedom, cut to [0, 1] for accuracies. Trials without a response are left out.
    Columns: `by`, seeds, mean, low, high.
    """
    trials = trials[trials[response].notna()]
    grouped = trials.groupby(list(by), sort=True)[response]
    cells = grouped.agg(seeds="size", mean="mean").reset_index()
    deviations = trials[response] - grouped.transform("mean")
    freedom = len(trials) - len(cells)
    half = np.nan
    if freedom > 0:
        half = float(np.sqrt((deviations**2).sum() / freedom) * stats.t.ppf(0.5 + LEVEL / 2, freedom))
    margin = half / np.sqrt(cells["seeds"])
    cells["low"], cells["high"] = cells["mean"] - margin, cells["mean"] + margin
    if "accuracy" in response:
        cells[["low", "high"]] = cells[["low", "high"]].clip(0, 1)
    return cells


def axis_effect(trials: pd.DataFrame, axis: str, others: Sequence[str], response: str, where: str) -> Effect | None:
    """Change of a response from the lowest to the highest level of an axis, averaged over the settings of the other axes.

    Each cell is compared with the one that differs in `axis` alone. The interval is Welch's: each cell has its own
    variance over seeds, and the degrees of freedom are Satterthwaite's. Trials without a response are left out.
    None without pairs, or without replicates.
    """
    trials = trials[trials[response].notna()]
    levels = sorted(trials[axis].unique())
    if len(levels) < 2:
        return None
    low, high = levels[0], levels[-1]
    sides = [trials[trials[axis] == level] for level in (low, high)]
    if others:
        summaries = [side.groupby(list(others), sort=True)[response].agg(["mean", "var", "size"]) for side in sides]
    else:
        summaries = [side[response].agg(["mean", "var", "size"]).to_frame().T for side in sides]
        summaries = [summary.reset_index(drop=True) for summary in summaries]
    both = summaries[1].join(summaries[0], lsuffix="_high", rsuffix="_low", how="inner")
    both = both[(both["size_high"] > 1) & (both["size_low"] > 1)]
    if both.empty:
        return None
    pairs = len(both)
    parts = np.concatenate([both[f"var_{side}"] / both[f"size_{side}"] for side in ("low", "high")]) / pairs**2
    freedoms = np.concatenate([both[f"size_{side}"] - 1 for side in ("low", "high")])
    change = float((both["mean_high"] - both["mean_low"]).mean())
    return Effect(axis, low, high, where, pairs, welch_interval(change, parts, freedoms))


@dataclass(frozen=True)
class Difference:
    """How one cell differs from another in a response."""

    cell: tuple
    other: tuple
    change: Interval
    p_holm: float = math.nan


def cell_differences(trials: pd.DataFrame, by: Sequence[str], response: str) -> list[Difference]:
    """Every pair of cells with at least two seeds each: the difference of their means with its Welch interval."""
    scored = trials[trials[response].notna()]
    cells = {key: part[response] for key, part in scored.groupby(list(by), sort=True) if len(part) > 1}
    differences = []
    for (key, scores), (other, others) in itertools.combinations(cells.items(), 2):
        variances = np.array([scores.var() / len(scores), others.var() / len(others)])
        freedoms = np.array([len(scores) - 1, len(others) - 1])
        change = welch_interval(float(others.mean() - scores.mean()), variances, freedoms)
        differences.append(Difference(other, key, change))
    return differences


def welch_interval(estimate: float, variances: np.ndarray, freedoms: np.ndarray) -> Interval:
    """Interval of a sum of independent estimates with their own variances (Welch-Satterthwaite)."""
    variance = variances.sum()
    if variance == 0:
        return Interval(estimate, estimate, estimate, p=0.0 if estimate else 1.0)
    freedom = variance**2 / (variances**2 / freedoms).sum()
    half = float(np.sqrt(variance) * stats.t.ppf(0.5 + LEVEL / 2, freedom))
    p = float(2 * stats.t.sf(abs(estimate) / np.sqrt(variance), freedom))
    return Interval(estimate, estimate - half, estimate + half, p)


Compared = TypeVar("Compared", Effect, Difference)


def adjust(family: Sequence[Compared]) -> list[Compared]:
    """Comparisons that were made together with Holm's adjusted p (Holm 1979)."""
    order = sorted(range(len(family)), key=lambda number: family[number].change.p)
    adjusted, largest = {}, 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(family) - rank) * family[number].change.p))
        adjusted[number] = replace(family[number], p_holm=largest)
    return [adjusted[number] for number in range(len(family))]


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: of items of one trained model, or of seeds of a cell; not of seeds and items together."""
    z = stats.norm.ppf(0.5 + LEVEL / 2)
    share = successes / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def summarise_outcomes(trials: pd.DataFrame, by: Sequence[str], response: str, threshold: float = SOLVES) -> pd.DataFrame:
    """Of each cell, how many of its seeds completed, failed, diverged, and reached a response.

    Args:
        trials: completed and failed ones; a law is conditional on the completed.
        threshold: of the response, from which a seed counts as a success.

    Returns:
        The settings and `seeds, completed, failed, diverged, successes, success_low, success_high` (Wilson over seeds).
    """
    reason = trials["reason"].astype(str) if "reason" in trials else pd.Series("", index=trials.index)
    table = trials[list(by)].assign(
        completed=trials["outcome"] == "completed",
        failed=trials["outcome"] == "failed",
        diverged=(trials["outcome"] == "failed") & reason.str.contains(DIVERGED, case=False),
        successes=(trials["outcome"] == "completed") & (trials[response] >= threshold),
    )
    counts = table.groupby(list(by), sort=True, dropna=False).agg(
        seeds=("completed", "size"), completed=("completed", "sum"), failed=("failed", "sum"),
        diverged=("diverged", "sum"), successes=("successes", "sum"),
    ).reset_index()  # fmt: skip
    intervals = [wilson(hits, seeds) for hits, seeds in zip(counts["successes"], counts["seeds"], strict=True)]
    counts["success_low"], counts["success_high"] = zip(*intervals, strict=True)
    return counts
