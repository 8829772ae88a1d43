"""How precisely a design will estimate the slopes of the recurrence law, before it is run.

The law is that of `sweeps.design.slopes`; phi = b / a. A row of a fit is a cell: the mean of log L over its seeds. Seed noise
alone is counted here, so intervals are wider where cells differ from the law itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from sweeps.design.identifiability import COEFFICIENTS, Refusal, find_refusal
from sweeps.design.slopes import centre, law_matrix
from sweeps.design.thresholds import LEVEL, MIN_SEEDS, MIN_SIZE_SLOPE_T

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
        """What a factor in R is worth as an exponent of a factor in N."""
        return self.b / self.a


@dataclass(frozen=True)
class HalfWidths:
    """Half-widths of 95 % intervals, in the units of the slopes."""

    a: float
    b: float
    phi: float
    has_clear_a: bool  # |t| of a is above 4, without which phi is not reported


def expect_half_widths(design: Design, noise_sd: float, slopes: Slopes) -> HalfWidths:
    """Half-widths of a least-squares fit: Student's t on cells minus coefficients; phi by the delta method.

    Var phi = (Var b + phi^2 Var a - 2 phi Cov(a, b)) / a^2.

    Args:
        design: one on which a law can be fitted.
        noise_sd: standard deviation of log L over the seeds of a cell.
        slopes: the law that is expected.
    """
    covariance = noise_sd**2 / design.seeds * np.linalg.inv(design.matrix.T @ design.matrix)[1:, 1:]
    gradient = np.array([-slopes.phi, 1.0]) / slopes.a
    deviation_a, deviation_b = np.sqrt(np.diag(covariance))
    deviation_phi = np.sqrt(gradient @ covariance @ gradient)
    quantile = stats.t.ppf(0.5 + LEVEL / 2, len(design.recursion) - COEFFICIENTS)
    return HalfWidths(
        a=float(quantile * deviation_a),
        b=float(quantile * deviation_b),
        phi=float(quantile * deviation_phi),
        has_clear_a=bool(abs(slopes.a) > MIN_SIZE_SLOPE_T * deviation_a),
    )


def fit_slopes(design: Design, log_nll: np.ndarray) -> Slopes:
    """Least-squares slopes of log L [cells], each a mean over seeds."""
    _, a, b = np.linalg.lstsq(design.matrix, log_nll, rcond=None)[0]
    return Slopes(float(a), float(b))


def pool_noise(cells: Sequence[np.ndarray]) -> float | None:
    """Standard deviation of log L over seeds, pooled over cells ([seeds] each); None where too few have two seeds."""
    replicated = [scores for scores in cells if len(scores) >= MIN_SEEDS]
    if len(replicated) < MIN_NOISE_CELLS:
        return None
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in replicated)
    return float(np.sqrt(squares / sum(len(scores) - 1 for scores in replicated)))
