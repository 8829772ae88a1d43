"""What measured cells show of the recurrence law: whether they differ, whether the law fits them, whether more parameters help.

`rrm-sweep plan` applies these rules to finished trials and `rrm-analyze` to its fits, so that a plan promises nothing that the
report refuses.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from sweeps.design.reasons import Reason
from sweeps.design.slopes import centre, law_matrix
from sweeps.design.thresholds import ALL_SOLVED, LACKING, LEVEL, MAX_MISFIT_SHARE, MIN_SIZE_SLOPE_T

SATURATIONS = (0.0, 0.3, 0.7)  # shares of the smallest loss from which the search for E starts
MAX_SATURATION = 0.999
LAW_PARAMETERS = 4  # c, alpha, phi, E


class Measured(NamedTuple):
    """Cell means of log L; G cells."""

    log_loss: np.ndarray  # [G]
    seeds: np.ndarray  # [G]
    variance: float  # variance of one seed, pooled within cells; NaN without replicates
    replicates: int  # its degrees of freedom


class Misfit(NamedTuple):
    """How far cells lie from a law, beyond the noise of their seeds."""

    p: float  # F test
    beyond: float  # standard deviation in log L
    is_refused: bool  # it is clear and exceeds a tenth of the range of log L

    @property
    def is_clear(self) -> bool:
        return self.p < LACKING


def find_flat(cells: Measured, accuracy: np.ndarray | None) -> Reason | None:
    """Whether no cell differs from another, at the floor or at the ceiling of the task.

    Args:
        accuracy: [G] exact accuracy; None where it is not known.
    """
    if accuracy is not None and (accuracy > ALL_SOLVED).all():
        return Reason.CEILING
    if _cells_differ(cells):
        return None
    return Reason.CEILING if accuracy is not None and accuracy.mean() > 0.5 else Reason.FLOOR


def _cells_differ(cells: Measured) -> bool:
    """F test of the cell means against seed noise."""
    freedom = len(cells.log_loss) - 1
    mean = np.average(cells.log_loss, weights=cells.seeds)
    between = float((cells.seeds * (cells.log_loss - mean) ** 2).sum()) / freedom
    if cells.variance == 0:
        return between > 0
    return bool(stats.f.sf(between / cells.variance, freedom, cells.replicates) < LACKING)


def find_misfit(cells: Measured, residual: np.ndarray, parameters: int) -> Misfit | None:
    """Lack of fit against the replicates; None where there are none, or no cells beside those that the parameters take.

    Args:
        residual: [G] log L less what the law has.
        parameters: of the law.
    """
    freedom = len(cells.log_loss) - parameters
    if freedom < 1 or not cells.replicates or not cells.variance:
        return None
    misfit = float((cells.seeds * residual**2).sum()) / freedom
    p = float(stats.f.sf(misfit / cells.variance, freedom, cells.replicates))
    beyond = float(np.sqrt(max(0.0, (misfit - cells.variance) / cells.seeds.mean())))
    return Misfit(p, beyond, bool(p < LACKING and beyond > MAX_MISFIT_SHARE * np.ptp(cells.log_loss)))


def is_size_clear(t: float, freedom: int) -> bool:
    """Whether a ratio to the slope in size means something: |t| above 4, and Fieller's interval of the ratio is bounded."""
    return bool(abs(t) > max(MIN_SIZE_SLOPE_T, stats.t.ppf(0.5 + LEVEL / 2, freedom)))


def law_residual(cells: Measured, once: np.ndarray, sizes: np.ndarray, recursions: np.ndarray) -> np.ndarray:
    """log L less the recurrence law L = E + exp(c - alpha log N_eff), N_eff = N_once + R^phi N, fitted with E >= 0, [G].

    Args:
        once, sizes: [G] parameters outside and inside the recursion.
        recursions: [G] R.
    """
    loss, ones = np.exp(cells.log_loss), np.ones(len(sizes))
    line = np.linalg.lstsq(_columns(sizes, recursions), cells.log_loss, rcond=None)[0]
    first_phi = float(np.clip(line[2] / (line[1] or 1e-3), -5, 5))

    def residual(point: np.ndarray) -> np.ndarray:
        """At a phi and a share of the smallest loss that E takes; c and alpha follow by least squares."""
        effective = np.logaddexp(np.log(np.maximum(once, 1e-300)), np.log(sizes) + point[0] * np.log(recursions))
        saturation = min(max(point[1], 0.0), MAX_SATURATION) * loss.min()
        weights = np.sqrt(cells.seeds) * (loss - saturation) / loss  # an error in log L is larger in log(L - E)
        x = np.column_stack([ones, centre(effective)])
        solved = np.linalg.lstsq(weights[:, None] * x, weights * np.log(loss - saturation), rcond=None)[0]
        return np.asarray(cells.log_loss - np.log(saturation + np.exp(x @ solved)))

    def squares(point: np.ndarray) -> float:
        return float((cells.seeds * residual(point) ** 2).sum())

    starts = [np.array([first_phi, share]) for share in SATURATIONS]
    found = [optimize.minimize(squares, start, method="Nelder-Mead") for start in starts]
    return residual(min(found, key=lambda end: float(end.fun)).x)


def _columns(sizes: np.ndarray, recursions: np.ndarray) -> np.ndarray:
    return law_matrix(centre(np.log(sizes)), centre(np.log(recursions))[:, None])


def size_slope_t(cells: Measured, sizes: np.ndarray, recursions: np.ndarray) -> float:
    """The slope in log N in standard errors of the jackknife over cells (CR3), as the report has it."""
    x = _columns(sizes, recursions)
    inverse = np.linalg.inv(x.T @ x)
    solved = inverse @ x.T @ cells.log_loss
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    left_out = (cells.log_loss - x @ solved) / np.maximum(1 - leverage, 1e-12)
    deviations = (inverse @ x.T * left_out).T
    count = len(x)
    variance = (count - 1) / count * float((deviations[:, 1] ** 2).sum())
    return float(solved[1] / np.sqrt(variance))
