"""How precisely a design will estimate the slopes of the recurrence law, before it is run.

The law is that of `sweeps.design.slopes`; phi = b / a. A row of a fit is a cell: the mean of log L over its seeds. It scatters by
the noise of its seeds, and by what the law itself misses where finished cells show that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from sweeps.design.identifiability import COEFFICIENTS, Refusal, find_refusal
from sweeps.design.slopes import centre, law_matrix
from sweeps.design.thresholds import LEVEL, MIN_SEEDS
from sweeps.planning.evidence import is_size_clear

POWER = 0.8  # probability with which a difference that is there is found clear
MIN_NOISE_CELLS = 3  # with two seeds each, before their scatter is used as the noise


@dataclass(frozen=True)
class Design:
    """Cells that one law is fitted on."""

    params_recursed: np.ndarray  # [cells] N
    recursion: np.ndarray  # [cells] R
    seeds: int  # seeds of each cell

    @property
    def matrix(self) -> np.ndarray:
        """[cells, 3]: the columns of the law."""
        logs = np.log(np.column_stack((self.params_recursed, self.recursion)).astype(float))
        return law_matrix(centre(logs[:, 0]), centre(logs[:, 1:]))

    @property
    def refusal(self) -> Refusal | None:
        """Why no law can be fitted on this design; None where it can."""
        return find_refusal(self.params_recursed, self.recursion, np.full(len(self.recursion), self.seeds))


class Slopes(NamedTuple):
    """Fall of log L per unit of log N (a) and of log R (b): positive where they help."""

    a: float
    b: float

    @property
    def phi(self) -> float:
        """The exponent with which a factor in N equals a factor in R."""
        return self.b / self.a


@dataclass(frozen=True)
class HalfWidths:
    """Half-widths of 95 % intervals, in the units of the slopes."""

    a: float
    b: float
    phi: float
    has_clear_a: bool  # result of `sweeps.planning.evidence.is_size_clear`; False leaves phi out of the report


def expect_half_widths(design: Design, noise_sd: float, slopes: Slopes, misfit_sd: float = 0.0) -> HalfWidths:
    """Half-widths of a least-squares fit: Student's t on cells minus coefficients; phi by the delta method.

    Var phi = (Var b + phi^2 Var a - 2 phi Cov(a, b)) / a^2.

    Args:
        design: one on which a law can be fitted.
        noise_sd: standard deviation of log L over the seeds of a cell.
        slopes: the law that is expected.
        misfit_sd: standard deviation of log L of cells around the law, which more seeds do not shrink.
    """
    covariance = (noise_sd**2 / design.seeds + misfit_sd**2) * np.linalg.inv(design.matrix.T @ design.matrix)[1:, 1:]
    gradient = np.array([-slopes.phi, 1.0]) / slopes.a
    deviation_a, deviation_b = np.sqrt(np.diag(covariance))
    deviation_phi = np.sqrt(gradient @ covariance @ gradient)
    freedom = len(design.recursion) - COEFFICIENTS
    quantile = stats.t.ppf(0.5 + LEVEL / 2, freedom)
    return HalfWidths(
        a=float(quantile * deviation_a),
        b=float(quantile * deviation_b),
        phi=float(quantile * deviation_phi),
        has_clear_a=is_size_clear(slopes.a / deviation_a, freedom),
    )


def fit_slopes(design: Design, log_nll: np.ndarray) -> Slopes:
    """Least-squares slopes of log L [cells], each a mean over seeds."""
    _, a, b = np.linalg.lstsq(design.matrix, log_nll, rcond=None)[0]
    return Slopes(float(a), float(b))


def pool_noise(cells: Sequence[np.ndarray]) -> float | None:
    """Standard deviation of a score over seeds, pooled over cells ([seeds] each); None where too few have two seeds."""
    replicated = [scores for scores in cells if len(scores) >= MIN_SEEDS]
    if len(replicated) < MIN_NOISE_CELLS:
        return None
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in replicated)
    return float(np.sqrt(squares / sum(len(scores) - 1 for scores in replicated)))


def detectable_difference(noise_sd: float, seeds: int, pairs: int) -> float:
    """The least difference that is clear at 95 % in four of five such sweeps: two-sided t test with a power of 80 %.

    Each of `pairs` of cells differs in one setting alone and has the same seeds on both sides, so that a difference has
    `seeds - 1` degrees of freedom a pair (noncentral t). Adjusting for several comparisons makes it larger.

    Args:
        noise_sd: of a score over the seeds of a cell.
        seeds: of each cell, 2 or more.
        pairs: that the difference is averaged over.
    """
    return float(_noncentrality(pairs * (seeds - 1)) * noise_sd * np.sqrt(2 / (pairs * seeds)))


def detectable_dependence(noise_sd: float, seeds: int, pairs: int) -> float:
    """The least dependence of an effect on another setting that is clear at 95 % in four of five such sweeps.

    A dependence is the difference between the effects at two levels of the other setting, each averaged over `pairs` of cells
    as in `detectable_difference`: twice the degrees of freedom and twice the variance.
    """
    return float(_noncentrality(2 * pairs * (seeds - 1)) * noise_sd * np.sqrt(4 / (pairs * seeds)))


def _noncentrality(freedom: int) -> float:
    """The true value, in standard errors, at which a two-sided t test finds it clear with a power of 80 %."""
    critical = stats.t.ppf(0.5 + LEVEL / 2, freedom)
    return float(optimize.brentq(lambda shift: stats.nct.sf(critical, freedom, shift) - POWER, 0, 10 * critical))
