"""Least squares with errors that are calibrated for few cells: jackknife over cells (CR3), and profiles with F limits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from analysis.statistics.interval import Interval
from sweeps.design.thresholds import LACKING, LEVEL

ROUNDING = 1e-9  # relative change of a value that rounding can cause
MAX_PROFILE_STEPS = 60  # steps towards the end of an interval; beyond that the interval counts as unbounded


@dataclass(frozen=True)
class Linear:
    """A linear fit with K coefficients."""

    coefficients: np.ndarray  # [K]
    covariance: np.ndarray  # [K, K]
    freedom: int  # degrees of freedom of t: clusters minus coefficients

    def interval(self, weights: np.ndarray) -> Interval:
        """A weighted sum of the coefficients."""
        estimate = float(weights @ self.coefficients)
        half = float(np.sqrt(weights @ self.covariance @ weights) * stats.t.ppf(0.5 + LEVEL / 2, self.freedom))
        return Interval(estimate, estimate - half, estimate + half)

    def t(self, index: int) -> float:
        """A coefficient divided by its standard error."""
        return float(self.coefficients[index] / np.sqrt(self.covariance[index, index]))


def fit_linear(x: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> Linear:
    """Ordinary least squares with the jackknife over clusters (CR3; MacKinnon, Nielsen and Webb 2023).

    Args:
        x: [N, K]; y: [N]; clusters: [N], the cell of each row.
    """
    coefficients = _solve(x, y)
    names = np.unique(clusters)
    without = np.array([_solve(x[clusters != name], y[clusters != name]) for name in names])
    deviations = without - coefficients
    covariance = (len(names) - 1) / len(names) * deviations.T @ deviations
    return Linear(coefficients, covariance, max(1, len(names) - x.shape[1]))


def _solve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0])


def fieller(linear: Linear, above: int, below: int, level: float = LEVEL) -> Interval | None:
    """Ratio of two coefficients with Fieller's interval; None if the interval is not bounded."""
    b, a = linear.coefficients[above], linear.coefficients[below]
    t = stats.t.ppf(0.5 + level / 2, linear.freedom)
    v = linear.covariance
    g = t**2 * v[below, below] / a**2
    if g >= 1:
        return None
    ratio = b / a
    centre = ratio - g * v[above, below] / v[below, below]
    inside = v[above, above] - 2 * ratio * v[above, below] + ratio**2 * v[below, below]
    inside -= g * (v[above, above] - v[above, below] ** 2 / v[below, below])
    half = t / abs(a) * np.sqrt(max(0.0, inside))
    return Interval(float(ratio), float((centre - half) / (1 - g)), float((centre + half) / (1 - g)))


@dataclass(frozen=True)
class Curve:
    """A nonlinear fit by weighted least squares with P parameters."""

    parameters: np.ndarray  # [P]
    squares: float  # weighted sum of squared misfits
    freedom: int  # observations minus parameters
    residuals: Callable[[np.ndarray], np.ndarray]  # parameters [P] -> weighted residuals
    bounds: tuple[np.ndarray, np.ndarray]

    def profile(self, index: int, start_step: float) -> Interval | None:
        """A parameter with the interval in which its profile stays below the limit of F; None if it is not bounded."""
        best = float(self.parameters[index])
        limit = self.squares * (1 + stats.f.ppf(LEVEL, 1, self.freedom) / self.freedom)
        ends = [self._end(index, best, sign * start_step, limit) for sign in (-1, 1)]
        if ends[0] is None or ends[1] is None:
            return None
        return Interval(best, ends[0], ends[1])

    def _end(self, index: int, best: float, step: float, limit: float) -> float | None:
        """The value at which the profile crosses the limit in one direction; None if it does not."""
        start = np.delete(self.parameters, index)
        lower, upper = self.bounds[0][index], self.bounds[1][index]
        inside, outside = best, None
        for _ in range(MAX_PROFILE_STEPS):
            value = float(np.clip(inside + step, lower, upper))
            squares, start_here = self._squares_at(index, value, start)
            if squares > limit:
                outside = value
                break
            if value in (lower, upper):
                return value
            inside, start, step = value, start_here, 1.6 * step
        if outside is None:
            return None

        def excess(value: float) -> float:
            return self._squares_at(index, value, start)[0] - limit

        return float(optimize.brentq(excess, inside, outside, xtol=1e-4 * max(1e-3, abs(outside - inside)), maxiter=40))

    def _squares_at(self, index: int, value: float, start: np.ndarray) -> tuple[float, np.ndarray]:
        """Smallest squares with one parameter fixed, and the values of the other parameters there."""
        bounds = (np.delete(self.bounds[0], index), np.delete(self.bounds[1], index))

        def misfit(others: np.ndarray) -> np.ndarray:
            return self.residuals(np.insert(others, index, value))

        result = optimize.least_squares(misfit, np.clip(start, *bounds), bounds=bounds, x_scale="jac", max_nfev=200)
        return float(2 * result.cost), result.x


def fit_curve(
    residuals: Callable[[np.ndarray], np.ndarray], starts: list[np.ndarray], bounds: tuple[np.ndarray, np.ndarray], count: int
) -> Curve:
    """The best fit over several starts.

    Args:
        residuals: function from parameters [P] to weighted misfits [N].
        starts: values of the parameters [P] from which a descent begins.
        bounds: lower and upper bounds of the parameters, [P] each.
        count: number of observations.
    """
    results = [
        optimize.least_squares(residuals, np.clip(start, *bounds), bounds=bounds, x_scale="jac", max_nfev=400) for start in starts
    ]
    best = min(results, key=lambda result: result.cost)
    return Curve(best.x, float(2 * best.cost), max(1, count - len(best.x)), residuals, bounds)


def t_interval(values: np.ndarray) -> Interval | None:
    """Mean of independent values by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    half = float(values.std(ddof=1) / np.sqrt(len(values)) * stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


# -- how well a law fits ------------------------------------------------------------------------------------------


def aic(squares: float, count: int, parameters: int) -> float:
    """Akaike's criterion for Gaussian misfits, whose variance counts as one more parameter."""
    return float(count * np.log(max(squares, 1e-300) / count) + 2 * (parameters + 1))


def r_squared(residual: np.ndarray, y: np.ndarray) -> float | None:
    """Share of the variance of y that a fit explains; None if y does not vary."""
    return None if is_constant(y) else float(1 - (residual**2).sum() / ((y - y.mean()) ** 2).sum())


def is_constant(y: np.ndarray) -> bool:
    """Whether values differ by rounding alone."""
    return bool(np.ptp(y) <= ROUNDING * max(1.0, np.abs(y).max()))


@dataclass(frozen=True)
class LackOfFit:
    """A test of the misfit of a law."""

    test: str
    p: float
    flagged: bool  # whether p is below `LACKING`


def lack_of_fit(residual: np.ndarray, cells: np.ndarray, parameters: int) -> LackOfFit | None:
    """F test of the misfit of cell means against the noise over replicates; None without replicates.

    Args:
        residual: misfit of each trial, [N].
        cells: cell of each trial, [N].
    """
    _, codes = np.unique(cells, return_inverse=True)
    sizes = np.bincount(codes)
    means = (np.bincount(codes, residual) / sizes)[codes]
    within, free = float(((residual - means) ** 2).sum()), len(residual) - len(sizes)
    if free < 1 or len(sizes) <= parameters or within == 0:
        return None
    p = float(stats.f.sf(float((means**2).sum()) / (len(sizes) - parameters) / (within / free), len(sizes) - parameters, free))
    return LackOfFit("F", p, p < LACKING)


def lack_of_fit_over_seeds(residual: np.ndarray) -> LackOfFit | None:
    """Whether the mean misfit of any point differs from zero; None if no misfit varies over seeds.

    The test is Student's t over seeds, because points share items, with Holm's adjustment over points.

    Args:
        residual: misfits, [seeds, points].
    """
    seeds = len(residual)
    error = residual.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(residual.shape[1])
    known = error > 0
    if not known.any():
        return None
    p = 2 * stats.t.sf(np.abs(residual.mean(axis=0)[known] / error[known]), seeds - 1)
    smallest = float(min(1.0, p.min() * len(p)))
    return LackOfFit("t over seeds, Holm over points", smallest, smallest < LACKING)


def nested_p(y: np.ndarray, matrix: np.ndarray, larger: np.ndarray) -> float | None:
    """F test of the columns that a larger matrix [G, K] has beside another one; None where nothing is left to test them by."""
    squares, ranks = [], []
    for columns in (matrix, larger):
        misfit = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
        squares.append(float((misfit**2).sum()))
        ranks.append(int(np.linalg.matrix_rank(columns)))
    added, free = ranks[1] - ranks[0], len(y) - ranks[1]
    if added < 1 or free < 1 or squares[0] <= ROUNDING**2 * float((y**2).sum()):
        return None
    return float(stats.f.sf(max(0.0, squares[0] - squares[1]) / added / (squares[1] / free), added, free))


def half_widths(y: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Half-width of the 95 % CI of the cell mean of each row, [N]. The variance is pooled over cells; NaN without replicates."""
    _, codes = np.unique(cells, return_inverse=True)
    sizes = np.bincount(codes)
    freedom = len(y) - len(sizes)
    if freedom < 1:
        return np.full(len(y), np.nan)
    within = float(((y - (np.bincount(codes, y) / sizes)[codes]) ** 2).sum())
    return np.asarray(stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(within / freedom / sizes)[codes])


def root_mean_square(errors: list[float]) -> float | None:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None
