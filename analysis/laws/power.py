"""Laws along one axis, for tables of at least four scales.

power_params, power_depth:  log L = log(E + exp(c - alpha (log x - mean)))   x: recursed parameters, or R
log_depth:                  exact accuracy = a + b log2 R
"""

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from analysis.laws.drawing import LOSS_LABEL, R_LABEL, SHARE_MISFIT, SIZE_LABEL, Drawing
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import Group
from analysis.laws.law import Law
from analysis.statistics.regression import (
    Curve,
    aic,
    fit_curve,
    fit_linear,
    half_widths,
    lack_of_fit,
    r_squared,
    root_mean_square,
)
from sweeps.design.axes import RECURSION, SIZE
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import CEILING, FLOOR, MIN_SEEDS

LOSS, ACCURACY = "test/nll", "test/exact_accuracy"
MIN_SCALES = 4
DIFFERENT = 0.05  # p below which scales differ in loss
ALPHA, LOG_E = 1, 2  # places in `PowerParameters`
NO_FLOOR = -13.0  # log E less the log of the smallest loss; below it E changes nothing


class LawAlongAnAxis(Law):
    """A law along one axis, fitted at each level of the other axis."""

    response: ClassVar[str]
    along: ClassVar[str]
    across: ClassVar[str]

    def fit(self, group: Group) -> list[Fit]:
        table = group.trials.dropna(subset=[self.response])
        levels = table.dropna(subset=[self.along]).groupby(self.across, sort=True)
        return [self._fit_level(group, part) for _, part in levels if part[self.along].nunique() > 1]

    def _fit_level(self, group: Group, part: pd.DataFrame) -> Fit:
        x, sizes, level = part[self.along], part.groupby(self.along).size(), float(part[self.across].iloc[0])
        fitted_range = {self.along: [float(x.min()), float(x.max())]}
        counts = (len(part), len(sizes), int(sizes.median()))
        fit = Fit(self, self.response, group.settings | {self.across: level}, *counts, fitted_range=fitted_range)
        if x.nunique() < MIN_SCALES:
            return replace(fit, reason=Reason.TOO_FEW_SCALES)
        if sizes.median() < MIN_SEEDS:
            return replace(fit, reason=Reason.TOO_FEW_SEEDS)
        logged = [self.along, *([LOSS] if self.response == LOSS else [])]
        reason = Reason.NOT_POSITIVE if (part[logged] <= 0).any(axis=None) else self.find_end(part)
        return replace(fit, reason=reason) if reason else self.estimate(fit, part)

    @abstractmethod
    def find_end(self, part: pd.DataFrame) -> Reason | None:
        """Floor or ceiling of the task, where no scale differs from another."""

    @abstractmethod
    def estimate(self, fit: Fit, part: pd.DataFrame) -> Fit:
        """The fit with its estimates."""


class PowerLaw(LawAlongAnAxis):
    """A saturating power law of the loss."""

    needs = ((SIZE,), (RECURSION,), (LOSS,))
    response = LOSS

    def find_end(self, part: pd.DataFrame) -> Reason | None:
        samples = [np.log(values.to_numpy(dtype=float)) for _, values in part.groupby(self.along)[LOSS] if len(values) > 1]
        if len(samples) > 1 and stats.f_oneway(*samples).pvalue < DIFFERENT:
            return None
        return Reason.CEILING if ACCURACY in part and part[ACCURACY].mean() > 0.5 else Reason.FLOOR

    def estimate(self, fit: Fit, part: pd.DataFrame) -> Fit:
        x, y = np.log(part[self.along].to_numpy(dtype=float)), np.log(part[LOSS].to_numpy(dtype=float))
        centred, scales = x - x.mean(), np.round(x, 9)
        curve = _fit_power(centred, y)
        floor = curve.profile(LOG_E, 0.2)
        without = float(y.min()) + NO_FLOOR
        line = fit_linear(np.column_stack([np.ones(len(x)), -centred]), y, scales)
        estimates = {
            "alpha": curve.profile(ALPHA, 0.05),
            "e": floor and floor.map(lambda log_e: np.exp(log_e) if log_e > without else 0.0),
            "slope": line.interval(np.array([0.0, 1.0])),
        }
        fitted = y - curve.residuals(curve.parameters)
        misfit = y - fitted
        straight = y - np.polyval(np.polyfit(centred, y, 1), centred)
        quality = Quality(
            r_squared=r_squared(misfit, y),
            aic=aic(curve.squares, len(y), 3),
            aic_simpler={
                "log_linear": aic(float((straight**2).sum()), len(y), 2),
                "constant": aic(float(((y - y.mean()) ** 2).sum()), len(y), 1),
            },
            leave_one_scale_out_error=root_mean_square(_errors_of_unseen_scales(x, y, curve)),
            lack_of_fit=lack_of_fit(misfit, scales, 3),
        )
        columns = {"line": "", "x": np.exp(x), "measured": np.exp(y), "fitted": np.exp(fitted), "misfit": misfit}
        points = pd.DataFrame({**columns, "half": half_widths(y, scales)})
        return replace(fit, estimates=only_bounded(estimates), quality=quality, flags=quality.flags, points=points)


class PowerParams(PowerLaw):
    """Loss against recursed parameters, at each R."""

    name = "power_params"
    rank = 2
    along, across = SIZE, RECURSION
    grows = ("size",)
    drawing = Drawing("A power law in parameters", SIZE_LABEL, LOSS_LABEL)


class PowerDepth(PowerLaw):
    """Loss against R, at each number of recursed parameters."""

    name = "power_depth"
    rank = 3
    along, across = RECURSION, SIZE
    grows = ("recursion",)
    drawing = Drawing("A power law in recursion", R_LABEL, LOSS_LABEL)


class PowerParameters(NamedTuple):
    """Parameters of the saturating power law."""

    c: float  # log of the loss above E at the mean of log x
    alpha: float
    log_e: float

    def log_loss(self, centred: np.ndarray) -> np.ndarray:
        """log L at logs of x less their mean."""
        return np.asarray(np.logaddexp(self.log_e, self.c - self.alpha * centred))


def _fit_power(centred: np.ndarray, y: np.ndarray) -> Curve:
    low, slope = float(y.min()), -float(np.polyfit(centred, y, 1)[0])
    starts = [np.array([float(y.mean()), slope * scale, low + shift]) for scale, shift in ((1, -10), (1.5, -1.5), (2.5, -0.5))]
    bounds = (np.array([-np.inf, -20, low - 14]), np.array([np.inf, 20, low + 1]))
    return fit_curve(lambda p: y - PowerParameters(*p).log_loss(centred), starts, bounds, len(y))


def _errors_of_unseen_scales(x: np.ndarray, y: np.ndarray, curve: Curve) -> list[float]:
    """Errors of the mean of each scale by a fit without it."""
    errors = []
    for scale in np.unique(np.round(x, 9)):
        unseen = np.round(x, 9) == scale
        seen = ~unseen
        centred = x - x[seen].mean()

        def residuals(p: np.ndarray, centred: np.ndarray = centred, seen: np.ndarray = seen) -> np.ndarray:
            return np.asarray(y[seen] - PowerParameters(*p).log_loss(centred[seen]))

        parameters = fit_curve(residuals, [curve.parameters], curve.bounds, int(seen.sum())).parameters
        errors.append(float((y[unseen] - PowerParameters(*parameters).log_loss(centred[unseen])).mean()))
    return errors


class LogDepth(LawAlongAnAxis):
    """Exact accuracy against log2 R, at each number of recursed parameters."""

    name = "log_depth"
    rank = 4
    needs = ((RECURSION,), (ACCURACY,), (SIZE,))
    response = ACCURACY
    along, across = RECURSION, SIZE
    grows = ("recursion",)
    drawing = Drawing(
        "Accuracy against the logarithm of recursion", R_LABEL, "exact accuracy on test", "log", "linear", SHARE_MISFIT
    )

    def find_end(self, part: pd.DataFrame) -> Reason | None:
        means = part.groupby(RECURSION)[ACCURACY].mean()
        if (means < FLOOR).all():
            return Reason.FLOOR
        return Reason.CEILING if (means > CEILING).all() else None

    def estimate(self, fit: Fit, part: pd.DataFrame) -> Fit:
        x, y = np.log2(part[RECURSION].to_numpy(dtype=float)), part[ACCURACY].to_numpy(dtype=float)
        line = fit_linear(np.column_stack([np.ones(len(x)), x]), y, np.round(x, 9))
        intervals = {"intercept": line.interval(np.array([1.0, 0.0])), "slope_per_doubling": line.interval(np.array([0.0, 1.0]))}
        fitted = line.coefficients[0] + line.coefficients[1] * x
        misfit = y - fitted
        quality = Quality(
            r_squared=r_squared(misfit, y),
            aic=aic(float((misfit**2).sum()), len(y), 2),
            aic_simpler={"constant": aic(float(((y - y.mean()) ** 2).sum()), len(y), 1)},
            leave_one_scale_out_error=root_mean_square(_errors_of_a_line(x, y)),
            lack_of_fit=lack_of_fit(misfit, np.round(x, 9), 2),
        )
        columns = {"line": "", "x": 2**x, "measured": y, "fitted": fitted, "misfit": misfit, "half": half_widths(y, x)}
        points = pd.DataFrame(columns)
        return replace(fit, estimates=only_bounded(intervals), quality=quality, flags=quality.flags, points=points)


def _errors_of_a_line(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Errors of the mean of each scale by a line without it."""
    errors = []
    for scale in np.unique(x):
        unseen = x == scale
        errors.append(float((y[unseen] - np.polyval(np.polyfit(x[~unseen], y[~unseen], 1), x[unseen])).mean()))
    return errors
