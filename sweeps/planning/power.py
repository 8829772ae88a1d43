"""How well a design will tell the slopes of the recurrence law, before it is run.

The law (DESIGN section 7), its nearly log-linear form: log L = c - a log N - b log R, N recursed parameters, R applications
of each per example; phi = b / a. A row of a fit is a cell: the mean of log L over its seeds. Seed noise alone is counted
here: where the law itself does not hold, intervals are wider.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
COEFFICIENTS = 3  # c, a, b
LEAST_SCALES = 3  # values of N, and of R
LEAST_SEEDS = 2
MOST_CORRELATION = 0.95  # of log N and log R
LEAST_T = 4.0  # of a; below it phi is not reported
CROSSED = "every width at every recursion: both as lists in one block of measure.vary"
LEAST_NOISE_CELLS = 3  # with two seeds each, before their scatter is taken for the noise


@dataclass(frozen=True)
class Design:
    """Cells that one law is fitted on."""

    params_recursed: np.ndarray  # [cells] N
    recursion: np.ndarray  # [cells] R
    seeds: int  # of each cell

    @property
    def matrix(self) -> np.ndarray:
        """[cells, 3]: 1, log N and log R, the logs centred."""
        logs = np.log(np.column_stack((self.params_recursed, self.recursion)).astype(float))
        return np.column_stack((np.ones(len(logs)), logs - logs.mean(axis=0)))


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


@dataclass(frozen=True)
class Refusal:
    """Why no law can be fitted on a design."""

    reason: str  # a word of docs/formats.md
    rule: str
    remedy: str


def find_refusal(design: Design) -> Refusal | None:
    """The first rule that a design breaks, in the order of FORMATS section 4; None where a law can be fitted."""
    sizes, recursions = len(set(design.params_recursed)), len(set(design.recursion))
    if sizes < LEAST_SCALES:
        rule = f"{_values(sizes)} of params_recursed, a law needs {LEAST_SCALES}"
        return Refusal("too_few_scales", rule, f"model.hidden_size with {LEAST_SCALES} values or more")
    if recursions < LEAST_SCALES:
        rule = f"{_values(recursions)} of recursion (R = T(n+1) N_sup for TRM), a law needs {LEAST_SCALES}"
        return Refusal("too_few_scales", rule, "values of model.l_cycles, model.h_cycles or model.supervision_steps")
    if design.seeds < LEAST_SEEDS:
        return Refusal(
            "too_few_seeds", f"{design.seeds} seed a cell, a law needs {LEAST_SEEDS}", f"measure.seeds: {LEAST_SEEDS} or more"
        )
    correlation = abs(float(np.corrcoef(design.matrix[:, 1:].T)[0, 1]))
    if correlation > MOST_CORRELATION:
        rule = f"|correlation| of log params_recursed and log recursion is {correlation:.3f}, at most {MOST_CORRELATION} is allowed"
        return Refusal("confounded", rule, CROSSED)
    if len(design.recursion) <= COEFFICIENTS:
        rule = f"{len(design.recursion)} cells for {COEFFICIENTS} coefficients leave nothing to tell their errors by"
        return Refusal("too_few_scales", rule, CROSSED)
    return None


def _values(count: int) -> str:
    return f"{count} value{'s' if count > 1 else ''}"


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
        has_clear_a=bool(abs(slopes.a) > LEAST_T * deviation_a),
    )


def fit_slopes(design: Design, log_nll: np.ndarray) -> Slopes:
    """Least-squares slopes of log L [cells], each a mean over seeds."""
    _, minus_a, minus_b = np.linalg.lstsq(design.matrix, log_nll, rcond=None)[0]
    return Slopes(-float(minus_a), -float(minus_b))


def pool_noise(cells: Sequence[np.ndarray]) -> float | None:
    """Standard deviation of log L over seeds, pooled over cells ([seeds] each); None where too few have two seeds."""
    replicated = [scores for scores in cells if len(scores) >= LEAST_SEEDS]
    if len(replicated) < LEAST_NOISE_CELLS:
        return None
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in replicated)
    return float(np.sqrt(squares / sum(len(scores) - 1 for scores in replicated)))
