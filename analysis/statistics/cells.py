"""Cells: means, intervals, and how many seeds succeed.

Seeds are replicates; the puzzles of one test split are not.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lightning_modules.outcome import Outcome
from sweeps.design.thresholds import LEVEL

MIN_SUCCESS = 0.5  # a seed with at least this exact accuracy counts as a success
DIVERGED = "diverged|nan|not finite"  # pattern in the reason of a failed trial that diverged


def summarise_cells(trials: pd.DataFrame, by: Sequence[str], response: str) -> pd.DataFrame:
    """Mean and 95 % CI of a response in each cell, seeds as replicates.

    The standard deviation is pooled over cells, because an estimate from the 3 seeds of one cell is imprecise. The interval is
    Student's t on the pooled degrees of freedom, clipped to [0, 1] for accuracies. Trials without a response are left out.
    The result has the columns `by`, seeds, mean, low, high.
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


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % CI of a share.

    The share counts independent units: items of one trained model, or seeds of one cell. Items of several seeds are dependent.
    """
    z = stats.norm.ppf(0.5 + LEVEL / 2)
    share = successes / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def summarise_outcomes(trials: pd.DataFrame, by: Sequence[str], response: str, threshold: float = MIN_SUCCESS) -> pd.DataFrame:
    """Counts of the seeds of each cell that completed, failed, diverged and reached a threshold.

    Args:
        trials: completed and failed trials.
        threshold: smallest response that counts as a success.

    Returns:
        One row per cell: `by`, seeds, completed, failed, diverged, successes, success_low, success_high (Wilson's 95 % CI).
    """
    reason = trials["reason"].astype(str) if "reason" in trials else pd.Series("", index=trials.index)
    table = trials[list(by)].assign(
        completed=trials["outcome"] == Outcome.COMPLETED,
        failed=trials["outcome"] == Outcome.FAILED,
        diverged=(trials["outcome"] == Outcome.FAILED) & reason.str.contains(DIVERGED, case=False),
        successes=(trials["outcome"] == Outcome.COMPLETED) & (trials[response] >= threshold),
    )
    counts = table.groupby(list(by), sort=True, dropna=False).agg(
        seeds=("completed", "size"), completed=("completed", "sum"), failed=("failed", "sum"),
        diverged=("diverged", "sum"), successes=("successes", "sum"),
    ).reset_index()  # fmt: skip
    intervals = [wilson(hits, seeds) for hits, seeds in zip(counts["successes"], counts["seeds"], strict=True)]
    counts["success_low"], counts["success_high"] = zip(*intervals, strict=True)
    return counts
