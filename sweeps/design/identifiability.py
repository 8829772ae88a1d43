"""Whether a design can identify the slopes of a recurrence law; the rules do not depend on what the runs measured."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeps.design.reasons import Reason
from sweeps.design.short_names import count_of
from sweeps.design.thresholds import MAX_CORRELATION, MIN_SCALES, MIN_SEEDS

COEFFICIENTS = 3  # level, slope in log size, slope in log recursion

Rule = Literal["sizes", "recursions", "seeds", "correlation", "cells"]


@dataclass(frozen=True)
class Refusal:
    """The first rule that a design breaks."""

    reason: Reason
    rule: Rule
    text: str  # the rule with its value


def find_refusal(sizes: np.ndarray, recursions: np.ndarray, seeds: np.ndarray) -> Refusal | None:
    """Why no law with one exponent of recursion can be fitted; None where it can.

    Args:
        sizes: [cells] recursed parameters.
        recursions: [cells] R, applications of a recursed parameter to an example.
        seeds: [cells] completed seeds.
    """
    if count_values(sizes) < MIN_SCALES:
        return Refusal(Reason.TOO_FEW_SCALES, "sizes", f"{_values(sizes)} of params_recursed, a law needs {MIN_SCALES}")
    if count_values(recursions) < MIN_SCALES:
        text = f"{_values(recursions)} of recursion (R = T(n+1) N_sup for TRM), a law needs {MIN_SCALES}"
        return Refusal(Reason.TOO_FEW_SCALES, "recursions", text)
    if lack_seeds(seeds):
        few = round(float(np.median(seeds)))
        return Refusal(Reason.TOO_FEW_SEEDS, "seeds", f"{count_of(few, 'seed')} a cell, a law needs {MIN_SEEDS}")
    correlation = max_correlation(np.column_stack((sizes, recursions)))
    if correlation > MAX_CORRELATION:
        text = f"|correlation| of log params_recursed and log recursion is {correlation:.3f}, at most {MAX_CORRELATION} is allowed"
        return Refusal(Reason.CONFOUNDED, "correlation", text)
    if len(sizes) <= COEFFICIENTS:
        text = f"{len(sizes)} cells for {COEFFICIENTS} coefficients leave nothing to estimate their errors from"
        return Refusal(Reason.TOO_FEW_SCALES, "cells", text)
    return None


def max_correlation(axes: np.ndarray) -> float:
    """Largest |correlation| between the logs of two columns of [cells, axes], each of which varies."""
    between = np.corrcoef(np.log(axes.astype(float)).T)
    return float(np.abs(between - np.eye(len(between))).max())


def lack_seeds(seeds: np.ndarray) -> bool:
    """Whether most cells have too few seeds."""
    return bool((seeds < MIN_SEEDS).mean() > 0.5)


def count_values(values: np.ndarray) -> int:
    """Different values; means over seeds may differ in the last bit."""
    return len(np.unique(np.asarray(values, dtype=float).round(9)))


def _values(values: np.ndarray) -> str:
    return count_of(count_values(values), "value")
